"""Calls that are delivered more than once: the network and the platform may repeat a request."""

import requests

from tests.cases.case import LOGGING, RESPONSE, case
from tests.cases.stage import Stage
from tests.faults.plan import CALL, INSTANCE_DIED, DeliverLate, Duplicate, Fault, ResetAfter

NO_CLAIM = "no claim: only an object in a bucket can be created once"
NOT_ON = {LOGGING: NO_CLAIM, RESPONSE: NO_CLAIM}
LINES = [["info", f"line {number}"] for number in range(4)]
TEXTS = [text for _, text in LINES]


def run_once(stage: Stage, *faults: Fault) -> None:
    """Make a run with faults of the call; the function must run once, and Dagster must show each line once."""
    with stage.faulty_calls(*faults) as faulty:
        run = faulty.run("log", {"lines": LINES})
    assert run.success, run.text
    assert run.lines == TEXTS
    assert stage.noted() == ["started"]


@case(not_on=NOT_ON)
def delivered_twice(stage: Stage) -> None:
    """A call that is delivered again after its response runs once, and Dagster gets the first response."""
    run_once(stage, Fault(CALL, Duplicate()))


@case(not_on=NOT_ON)
def delivered_twice_and_refused(stage: Stage) -> None:
    """If only the refusal of the second delivery arrives, the messages tell of the success."""
    run_once(stage, Fault(CALL, Duplicate(answer="second")))


@case(not_on=NOT_ON)
def delivered_twice_at_once(stage: Stage) -> None:
    """Of two deliveries at the same moment, one runs, whichever answers first."""
    run_once(stage, Fault(CALL, Duplicate(concurrently=True)))


@case(not_on=NOT_ON)
def delivered_twice_at_once_with_the_later_answer(stage: Stage) -> None:
    """Of two deliveries at the same moment, one runs, and Dagster copes with the later answer."""
    run_once(stage, Fault(CALL, Duplicate(concurrently=True, answer="second")))


@case(not_on=NOT_ON)
def delivered_late(stage: Stage) -> None:
    """If the platform says 503 and delivers the call later all the same, the attempt in between is the only run."""
    run_once(stage, Fault(CALL, DeliverLate(1.0, INSTANCE_DIED)))


@case(not_on=NOT_ON)
def retried_although_it_has_run(stage: Stage) -> None:
    """If the response is lost, another attempt is refused by the claim, and the step succeeds with the first run."""
    run_once(stage, Fault(CALL, ResetAfter()))


@case(not_on=NOT_ON)
def delivered_again_after_the_run(stage: Stage) -> None:
    """A delivery after the run has succeeded and its messages are deleted runs nothing."""
    run_once(stage)
    body = stage.links["call"].requests[-1].body
    response = requests.post(stage.url, data=body, headers={"Content-Type": "application/json"}, timeout=60)
    assert response.status_code == 409
    assert response.headers["Dagster-Pipes-Error"] == "duplicate_call"
    assert stage.noted() == ["started"]
