"""Networks, buckets and platforms that fail for a while, or for good."""

import socket
from dataclasses import replace

from dagster import RetryPolicy

from tests.cases.case import BUCKET, LOGGING, RESPONSE, case
from tests.cases.shown import Shown
from tests.cases.stage import Stage
from tests.faults.matrix import chunk
from tests.faults.plan import (
    CALL,
    EVERY,
    INSTANCE_DIED,
    NO_INSTANCE_429,
    NOT_INVOKER,
    READ,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Action,
    Fault,
    Match,
    ResetAfter,
    ResetBefore,
    StatusAfter,
    Truncate,
    Unavailable,
    after,
    storage_forbidden,
)
from tests.faults.stack import Link

NO_BUCKET = "no bucket takes part"
NOT_ON = {LOGGING: NO_BUCKET, RESPONSE: NO_BUCKET}
NO_RETRY = "without a claim, a call that was sent is not made again"
SAFE = "its claim makes another attempt safe"
ONLY_BY_RESPONSE = "without the response there are no messages"
LINES = [["info", f"line {number}"] for number in range(4)]
TEXTS = [text for _, text in LINES]


def run_through_storage(stage: Stage, link: Link, *faults: Fault) -> None:
    """Make a run with faults on the way to the bucket that must cost only time."""
    with stage.links[link].planned(*faults):
        run = stage.run("log", {"lines": LINES})
    assert_complete(stage, run)


def run_through(stage: Stage, fault: Action) -> None:
    """Make a run with a fault of its call that must cost only time."""
    with stage.faulty_calls(Fault(CALL, fault)) as faulty:
        run = faulty.run("log", {"lines": LINES})
    assert_complete(stage, run)


def assert_complete(stage: Stage, run: Shown) -> None:
    assert run.success, run.text + run.error
    assert run.lines == TEXTS
    assert stage.noted() == ["started"]


def of_first_and_last_chunk(match: Match, action: Action) -> list[Fault]:
    """Return a fault of the claim, and the same of a later chunk."""
    return [Fault(chunk(match, number), action) for number in (1, 2)]


@case(not_on=NOT_ON)
def uploads_refused_for_a_while(stage: Stage) -> None:
    """503 of Cloud Storage for the claim and for a later chunk loses and doubles nothing."""
    run_through_storage(stage, "writer", *of_first_and_last_chunk(UPLOAD, STORAGE_UNAVAILABLE))


@case(not_on=NOT_ON)
def uploads_whose_acknowledgement_is_lost(stage: Stage) -> None:
    """If uploads arrive and their answers do not, the function recognises its own chunks, also the claim."""
    run_through_storage(stage, "writer", *of_first_and_last_chunk(UPLOAD, ResetAfter()))


@case(not_on=NOT_ON)
def uploads_whose_connection_breaks(stage: Stage) -> None:
    """If connections break before uploads arrive, the function uploads again."""
    run_through_storage(stage, "writer", *of_first_and_last_chunk(UPLOAD, ResetBefore()))


@case(not_on=NOT_ON)
def storage_away_for_a_second(stage: Stage) -> None:
    """If Cloud Storage cannot be reached for a second while the function runs, all lines arrive."""
    run_through_storage(stage, "writer", Fault(chunk(UPLOAD, 2), Unavailable(1.0)))


@case(not_on=NOT_ON)
def reads_that_fail_for_a_while(stage: Stage) -> None:
    """503, a broken connection and a cut answer on Dagster's way to the bucket lose and double nothing."""
    answered = chunk(READ, 2).answered(200)
    faults = [Fault(chunk(READ, 1), STORAGE_UNAVAILABLE), Fault(chunk(READ, 2), ResetBefore())]
    run_through_storage(stage, "reader", *faults, Fault(answered, Truncate(5)))


@case(not_on=NOT_ON)
def a_bucket_that_the_function_may_not_write(stage: Stage) -> None:
    """Without the permission for the claim the function's code does not run, and the error names the permission."""
    with stage.links["writer"].planned(Fault(UPLOAD, storage_forbidden(), EVERY)):
        run = stage.run("log", {"lines": LINES})
    assert "PipesCloudFunctionRefusedError" in run.error
    assert "storage.objects.create" in run.error
    assert stage.noted() == []


@case(not_on=NOT_ON)
def messages_that_cannot_be_stored(stage: Stage) -> None:
    """If the permission is taken away while the function runs, the step fails: messages are missing."""
    with stage.links["writer"].planned(Fault(UPLOAD, storage_forbidden(), after(1))):
        run = stage.run("log", {"lines": LINES})
    assert "could not be stored" in run.error
    assert stage.noted() == ["started"]


@case(not_on={RESPONSE: ONLY_BY_RESPONSE})
def a_response_that_is_lost(stage: Stage) -> None:
    """If a proxy answers 504 in place of the function, the messages tell of the success."""
    run_through(stage, StatusAfter(504))


@case(not_on={RESPONSE: ONLY_BY_RESPONSE})
def a_response_that_is_cut(stage: Stage) -> None:
    """If the response breaks off, the messages tell of the success."""
    run_through(stage, Truncate(5))


@case(not_on={LOGGING: NO_RETRY, RESPONSE: NO_RETRY})
def a_platform_that_has_died_instances(stage: Stage) -> None:
    """If the platform answers 503, another attempt of the same call succeeds, and the function runs once."""
    run_through(stage, INSTANCE_DIED)


@case(not_on={LOGGING: NO_RETRY, RESPONSE: NO_RETRY})
def a_platform_without_instances(stage: Stage) -> None:
    """If the platform answers 429, another attempt of the same call succeeds."""
    run_through(stage, NO_INSTANCE_429)


@case(not_on={BUCKET: SAFE, LOGGING: "the messages do not take the response"})
def a_broken_response_without_a_claim(stage: Stage) -> None:
    """If the response breaks before its last message, the step fails, and the call is not made again."""
    with stage.faulty_calls(Fault(CALL, Truncate(700))) as faulty:
        run = faulty.run("log", {"lines": LINES * 10}, retry_policy=RetryPolicy(max_retries=1))
    assert "The call is not retried" in run.error
    assert run.lines == (TEXTS * 10)[: len(run.lines)]
    assert stage.noted() == ["started"]


@case(not_on={BUCKET: SAFE})
def a_call_that_may_have_started_without_a_claim(stage: Stage) -> None:
    """If the connection breaks after the request was sent, the step fails and the call is not made again."""
    with stage.faulty_calls(Fault(CALL, ResetBefore())) as faulty:
        run = faulty.run("log", {"lines": LINES}, retry_policy=RetryPolicy(max_retries=1))
    assert "The call is not retried" in run.error
    assert run.lines == []
    assert stage.noted() == []


@case
def a_platform_that_forbids_the_call(stage: Stage) -> None:
    """A 403 of the platform fails the step without another attempt, and names the role."""
    with stage.faulty_calls(Fault(CALL, NOT_INVOKER, EVERY)) as faulty:
        run = faulty.run("log", {"lines": LINES})
        assert len(stage.links["call"].plan.requests) == 1
    assert "PipesCloudFunctionAccessError" in run.error
    assert "roles/run.invoker" in run.error
    assert stage.noted() == []


@case
def a_connection_that_is_refused(stage: Stage) -> None:
    """If nothing listens at the URL, the step fails and says so."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # no other process can take the port, and nobody listens
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        run = replace(stage, elsewhere=url).run("log", {"lines": LINES}, settings={"max_attempts": 1})
    assert "PipesCloudFunctionCallError" in run.error
    assert "Could not connect to the function" in run.error


@case(not_on={LOGGING: "its sign of life is in the log, with the delay of the log", RESPONSE: ONLY_BY_RESPONSE})
def a_silent_function_behind_a_broken_connection(stage: Stage) -> None:
    """If the connection breaks while the function works in silence, its heartbeats keep the step waiting for it."""
    with stage.faulty_calls(Fault(CALL, ResetAfter(within=0.3))) as faulty:
        run = faulty.run("sleep", {"seconds": 4})
    assert run.success, run.text + run.error
    assert run.lines == ["conformance: slept"]
    assert stage.noted() == ["started"]
