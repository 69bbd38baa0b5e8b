"""Many calls with faults on each connection: the truth about each key, each line once, and only its own call fails."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import pytest
from dagster import AssetExecutionContext, EventLogEntry
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes import PipesCloudFunctionCompletedCalls
from dagster_gcf_pipes.local import Emulator, run_function
from tests.conftest import FUNCTIONS
from tests.faults.accounting import RequestRecord
from tests.faults.matrix import LAST_CHUNK, LINES, RUN_BOUND
from tests.faults.outcome import UNHANG_TIMEOUT, deliver_again, read_record
from tests.faults.plan import (
    CALL,
    EVERY,
    LIST,
    NO_INSTANCE_429,
    NO_INSTANCE_500,
    READ,
    STORAGE_RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Action,
    Corrupt,
    DelayAnswer,
    DelayUntil,
    DeliverLate,
    Duplicate,
    Fault,
    Match,
    ResetAfter,
    ResetBefore,
    Stall,
    Status,
    StatusAfter,
    Trickle,
    Truncate,
    after,
    first,
    platform_error,
    storage_error,
    storage_forbidden,
)
from tests.faults.stack import Link, ProxiedClient, ProxiedStack, run_proxied_stack
from tests.many.steps import Step, run_body
from tests.waiting import in_background, wait_for_cleanup, wait_until

COUNT: Final = 3
"""The calls of a step. Each message of a call is a chunk of its own."""
EACH: Final = first(COUNT)
FOR_EVER: Final = 3600.0
BAD_CREDENTIALS: Final = storage_error(401, "authError", "Invalid Credentials")
RATE_EXCEEDED: Final = platform_error(429, "Rate exceeded.")
STORED: Final = Status(200, b"{}", (("Content-Type", "application/json"),))
"""What Cloud Storage answers to an upload."""


def of_storage(*faults: Fault) -> dict[Link, Sequence[Fault]]:
    return {"reader": faults}


def of_calls(*faults: Fault) -> dict[Link, Sequence[Fault]]:
    return {"call": faults}


def each(action: Action) -> Fault:
    """Return the fault of the first attempt of each call."""
    return Fault(CALL, action, EACH, minimum=COUNT)


def of_second(match: Match, chunk: int) -> Match:
    """Return a match for a chunk of the second call."""
    return of_call(2, match, chunk)


def of_call(number: int, match: Match, chunk: int) -> Match:
    """Return a match for a chunk of a call."""
    return match.of(rf"/{number:07}/{chunk}\.json$")


SECOND_CHUNK_3: Final = of_second(READ, 3)
RECOVERIES: Final[dict[str, dict[Link, Sequence[Fault]]]] = {
    "reads fail in several ways": of_storage(
        Fault(READ, ResetBefore(), range(1, 99, 7), minimum=3),
        Fault(READ, STORAGE_RATE_LIMITED, range(2, 99, 7), minimum=3),
        Fault(READ.answered(200), Truncate(5), range(4, 99, 7), minimum=2),
        Fault(READ.answered(200), Corrupt(), range(5, 99, 7), minimum=2),
        Fault(READ.answered(200), Stall(FOR_EVER), {6}),
    ),
    "a read gets 401": of_storage(Fault(SECOND_CHUNK_3, BAD_CREDENTIALS)),
    "a read gets 503, and then stalls": of_storage(
        Fault(SECOND_CHUNK_3, STORAGE_UNAVAILABLE, first(12), minimum=12), Fault(SECOND_CHUNK_3, Stall(FOR_EVER), {13})
    ),
    "reads trickle": of_storage(Fault(READ.answered(200), Trickle(0.3), EACH, minimum=COUNT)),
    "lists get 503 for good": of_storage(Fault(LIST, STORAGE_UNAVAILABLE, after(1), minimum=0)),
    "lists stall for good": of_storage(Fault(LIST, Stall(FOR_EVER), after(1), minimum=0)),
    "calls get 429 although processed": of_calls(each(StatusAfter(429, RATE_EXCEEDED.body))),
    "responses are cut": of_calls(each(Truncate(5))),
    "calls are delivered twice": of_calls(each(Duplicate(concurrently=True, answer="second"))),
    "calls get 429, and are delivered later": of_calls(each(DeliverLate(0.6, RATE_EXCEEDED))),
    "no instance for a while": of_calls(
        Fault(CALL, NO_INSTANCE_429, first(3)), Fault(CALL, NO_INSTANCE_500, {4}), Fault(CALL, RATE_EXCEEDED, {5})
    ),
    "calls are reset after, and then there is no instance for good": of_calls(
        each(ResetAfter()), Fault(CALL, NO_INSTANCE_429, after(COUNT), minimum=0)
    ),
    "calls are delivered later, and then there is no instance for good": of_calls(
        each(DeliverLate(1.0)), Fault(CALL, NO_INSTANCE_429, after(COUNT), minimum=0)
    ),
    "calls are reset after, and reads get 503": {
        "call": [each(ResetAfter())],
        "reader": [Fault(READ, STORAGE_UNAVAILABLE, first(24), minimum=24)],
    },
    "calls are reset after, and lists fail": {
        "call": [each(ResetAfter())],
        "reader": [
            Fault(LIST, STORAGE_UNAVAILABLE, {2, 3}, minimum=2),
            Fault(LIST, Stall(FOR_EVER), {4}),
            Fault(LIST.answered(200), Truncate(5), {2}),
        ],
    },
    "calls are reset after, and a read trickles": {
        "call": [each(ResetAfter())],
        "reader": [Fault(of_second(READ, LAST_CHUNK).answered(200), Trickle(0.3))],
    },
}
"""Faults that must fail no call."""


@pytest.fixture(scope="module")
def stack(emulator: Emulator) -> Iterator[ProxiedStack]:
    with run_proxied_stack(emulator) as stack:
        yield stack


def set_read_timeout(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in ("shared_reader", "shared_session"):
        monkeypatch.setattr(f"dagster_gcf_pipes._messages.{module}.READ_TIMEOUT", seconds)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    set_read_timeout(monkeypatch, 1.0)
    monkeypatch.setattr("dagster_gcf_pipes._messages.shared_reader.LIST_INTERVAL", 0.3)


def client_of(stack: ProxiedStack, **settings: Any) -> ProxiedClient:
    defaults = {"function_timeout": 20, "drain_timeout": 1, "max_attempts": 3, "retry_delay": 0.4}
    return ProxiedClient(
        bucket=stack.bucket,
        key_prefix=uuid.uuid4().hex,
        api_endpoint=stack.links["reader"].url,
        **{**defaults, **settings},
    )


def new_events(count: int = COUNT) -> dict[str, dict[str, Any]]:
    keys = [uuid.uuid4().hex for _ in range(count)]
    return {key: {"key": key, "lines": LINES, "status": 200} for key in keys}


def calling(url: str, events: Mapping[str, Any], **arguments: Any) -> Callable[..., PipesCloudFunctionCompletedCalls]:
    """Return the body of a step that calls a function many times."""

    def body(context: AssetExecutionContext, client: Any) -> PipesCloudFunctionCompletedCalls:
        calls: PipesCloudFunctionCompletedCalls = client.run_many(
            context=context, function_url=url, events=events, **arguments
        )
        return calls

    return body


def make_calls(stack: ProxiedStack, client: ProxiedClient, events: Mapping[str, Any], **arguments: Any) -> Step:
    """Make calls in a step, which must end within the bound."""
    running = in_background(lambda: run_body(client, calling(stack.links["call"].url, events, **arguments)))
    hung = not wait([running], RUN_BOUND).done
    step = running.result(UNHANG_TIMEOUT)
    assert not hung
    return step


def errors_of(step: Step) -> dict[str, str]:
    failed = step.calls.failed if step.calls else step.failed.errors
    return {key: str(error.description) for key, error in failed.items()}


def lines_of(step: Step, key: str) -> list[str]:
    return [line for line in step.lines_of(key) if not line.startswith("[pipes]")]


def started(stack: ProxiedStack, keys: Sequence[str]) -> list[int]:
    """Return how often the user's code has run for each key."""
    return [read_record(stack.function.url, key)["started"] for key in keys]


def check_nothing_is_left(stack: ProxiedStack, keys: Sequence[str]) -> None:
    """Check that a late delivery runs nothing, and that all threads have ended."""
    wait_for_cleanup()
    deliver = partial(deliver_again, stack.links["call"], stack.function.url)
    with ThreadPoolExecutor() as threads:
        assert [*threads.map(deliver, keys)] == [0] * len(keys)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("pipes ")])


@pytest.mark.parametrize("plans", RECOVERIES.values(), ids=RECOVERIES.keys())
def test_a_fault_costs_only_time(stack: ProxiedStack, plans: Mapping[Link, Sequence[Fault]]) -> None:
    events = new_events()
    with ExitStack() as planned:
        for link, faults in plans.items():
            planned.enter_context(stack.links[link].planned(*faults))
        step = make_calls(stack, client_of(stack), events)
    assert not errors_of(step)
    assert [lines_of(step, key) for key in events] == [LINES] * COUNT
    assert started(stack, [*events]) == [1] * COUNT
    check_nothing_is_left(stack, [*events])


def test_a_fault_fails_no_call_but_its_own(stack: ProxiedStack) -> None:
    events = new_events(7)
    reads = (
        Fault(of_call(1, READ, 4), BAD_CREDENTIALS, EVERY),
        Fault(of_call(2, READ, 4), Status(404), EVERY),
        Fault(of_call(3, READ, 4), Status(200, b"{}\n"), EVERY),
        Fault(of_call(4, READ, 4), storage_forbidden("storage.objects.get"), EVERY),
    )
    writes = (Fault(of_call(5, UPLOAD, 4), STORED), Fault(of_call(6, UPLOAD, 1), storage_forbidden(), EVERY))
    expected = [
        "there are no credentials that Google accepts",
        "chunk 4 is not in the bucket",
        "4.json to have the keys",
        "storage.objects.get",
        "chunk 4 is not in the bucket",
        "storage_forbidden",
    ]
    with stack.links["reader"].planned(*reads), stack.links["writer"].planned(*writes):
        step = make_calls(stack, client_of(stack), events)
    errors = errors_of(step)
    assert [*errors] == [*events][:6]
    for text, error in zip(expected, errors.values(), strict=True):
        assert text in error
    assert [lines_of(step, key) for key in events] == [LINES[:2]] * 5 + [[], LINES]
    assert started(stack, [*events]) == [1] * 5 + [0, 1]
    check_nothing_is_left(stack, [key for number, key in enumerate(events) if number != 5])


def test_no_code_runs_for_a_call_that_is_delivered_after_its_last_attempt(stack: ProxiedStack) -> None:
    events = new_events()
    with stack.links["call"].planned(Fault(CALL, DeliverLate(FOR_EVER), EVERY, minimum=3 * COUNT)):
        step = make_calls(stack, client_of(stack), events)
        assert [*errors_of(step)] == [*events]
    assert started(stack, [*events]) == [0] * COUNT
    check_nothing_is_left(stack, [*events])


# ------------------------------------------------------------------------------------------------------ how long to try


def test_a_chunk_that_was_requested_late_gets_its_own_time(
    stack: ProxiedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of chunks may wait before it, and the deadline of its function passes meanwhile."""
    set_read_timeout(monkeypatch, 10.0)
    monkeypatch.setattr("dagster_gcf_pipes._messages.shared_session.MIN_DRAIN_DEADLINE", 1.5)
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", 0.0)
    late = Fault(of_second(READ, 3).answered(200), DelayAnswer(2.5))
    then = Fault(of_second(READ, 4), STORAGE_UNAVAILABLE, first(4), minimum=4)
    with stack.links["reader"].planned(late, then):
        step = make_calls(stack, client_of(stack, function_timeout=2), new_events())
    assert not errors_of(step)


def test_a_chunk_that_never_arrives_is_given_up(stack: ProxiedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single thread reads. It loses its turn, and another one reads the chunks of all calls."""
    monkeypatch.setattr("dagster_gcf_pipes._messages.shared_session.MIN_DRAIN_DEADLINE", 2.0)
    monkeypatch.setattr("dagster_gcf_pipes._messages.shared_reader.PARALLEL_READS", 1)
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", 0.0)
    events = new_events()
    keys = [*events]
    with stack.links["reader"].planned(Fault(of_second(READ, 4).answered(200), Trickle(0.3), EVERY)):
        step = make_calls(stack, client_of(stack, function_timeout=3), events)
    errors = errors_of(step)
    assert errors.keys() == {keys[1]}
    assert "Cannot read a chunk of" in errors[keys[1]]
    assert [lines_of(step, key) for key in keys] == [LINES, LINES[:2], LINES]
    assert started(stack, keys) == [1] * COUNT
    check_nothing_is_left(stack, keys)


def test_a_response_that_never_arrives_keeps_no_other_call_waiting(
    stack: ProxiedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_gcf_pipes._attempts.RESPONSE_TIMEOUT", 1.0)
    events = new_events()
    with stack.links["call"].planned(Fault(CALL, Stall(FOR_EVER, processed=True), EVERY, minimum=COUNT)):
        step = make_calls(stack, client_of(stack, function_timeout=FOR_EVER), events, max_concurrency=1)
    assert not errors_of(step)
    assert started(stack, [*events]) == [1] * COUNT
    check_nothing_is_left(stack, [*events])


# ------------------------------------------------------------------------------------------------------- what is enough


def test_a_list_that_fails_says_nothing_of_calls_whose_messages_are_known(stack: ProxiedStack) -> None:
    """All messages have arrived, and the response has not. Then Dagster loses its permission."""
    responded = threading.Event()
    reader, call = stack.links["reader"], stack.links["call"]

    def read_all() -> bool:
        """Whether all last chunks were read, and then the bucket was listed."""
        names = [request.object_name or request.kind for request in [*reader.requests][before:]]
        last = [index for index, name in enumerate(names) if name.endswith(f"/{LAST_CHUNK}.json")]
        return len(last) == COUNT and LIST.kind in names[last[-1] :]

    before = len(reader.requests)
    with call.planned(Fault(CALL.answered(200), DelayUntil(responded), EVERY, minimum=COUNT)):
        running = in_background(lambda: make_calls(stack, client_of(stack), new_events()))
        wait_until(read_all)
        with reader.planned(Fault(LIST, storage_forbidden("storage.objects.list"), EVERY, minimum=4)) as plan:
            plan.wait_until_triggered(10)  # several times, so that the reader has seen it
            responded.set()
            step = running.result(RUN_BOUND)
    assert not errors_of(step)


def test_a_line_is_shown_although_the_next_read_stalls(stack: ProxiedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of several calls may share an entry. They do not wait for a chunk that does not arrive.

    A single thread reads. It handles all chunks of the first call, while the second one waits. Then it waits for that.
    """
    set_read_timeout(monkeypatch, 60.0)
    monkeypatch.setattr("dagster_gcf_pipes._messages.shared_reader.PARALLEL_READS", 1)
    may_start, both_known, may_arrive = threading.Event(), threading.Event(), threading.Event()
    first_call = Fault(READ.of(r"/2\.json$"), DelayUntil(both_known))
    second_call = Fault(READ.of(r"/1\.json$"), DelayUntil(may_arrive), {2})
    reader = stack.links["reader"]

    def watch(context: AssetExecutionContext) -> None:
        try:
            wait_until(lambda: reader.plan.injections(first_call) == 1)
            may_start.set()
            known_after = len(stack.links["writer"].requests)
            wait_until(lambda: any(claims(request) for request in stack.links["writer"].requests[known_after:]))
            listed = count_lists()
            wait_until(lambda: count_lists() >= listed + 2)  # one after the claim, which the reader has seen
            both_known.set()
            wait_until(lambda: any("line 3" in entry.user_message for entry in logs(context)))
        finally:
            may_arrive.set()

    def claims(request: RequestRecord) -> bool:
        return request.kind == UPLOAD.kind and str(request.object_name).endswith("/1.json")

    def count_lists() -> int:
        return sum(request.kind == LIST.kind for request in [*reader.requests])

    def logs(context: AssetExecutionContext) -> Sequence[EventLogEntry]:
        entries: Sequence[EventLogEntry] = context.instance.all_logs(context.run_id)
        return entries

    def body(context: AssetExecutionContext, client: Any) -> PipesCloudFunctionCompletedCalls:
        watching = in_background(lambda: watch(context))
        calls = calling(stack.links["call"].url, new_events(2))(context, client)
        watching.result(30)
        return calls

    with (
        stack.links["call"].planned(Fault(CALL, DelayUntil(may_start), {2})),
        reader.planned(first_call, second_call),
    ):
        assert run_body(client_of(stack), body).calls


# ------------------------------------------------------------------------------------------------- several in a process


def test_several_sets_of_calls_at_once_do_not_mix(stack: ProxiedStack) -> None:
    """Two steps at once in this process, with one resource. One of them makes two sets of calls in threads."""
    client = client_of(stack)
    sets = [new_events(4) for _ in range(3)]
    url = stack.links["call"].url

    def two_sets(context: AssetExecutionContext, client: Any) -> PipesCloudFunctionCompletedCalls:
        other = in_background(lambda: calling(url, sets[1])(context, client))
        calls = calling(url, sets[0])(context, client)
        assert [*other.result(RUN_BOUND).succeeded] == [*sets[1]]
        return calls

    faults = (
        Fault(READ, STORAGE_UNAVAILABLE, range(1, 200, 5), minimum=10),
        Fault(READ, ResetBefore(), range(2, 200, 5), minimum=10),
        Fault(LIST, STORAGE_UNAVAILABLE, range(6, 200, 3), minimum=0),
    )
    with (
        stack.links["reader"].planned(*faults),
        stack.links["call"].planned(Fault(CALL, ResetAfter(), range(1, 12, 2), minimum=6)),
    ):
        running = [
            in_background(lambda: run_body(client, two_sets)),
            in_background(lambda: run_body(client, calling(url, sets[2]))),
        ]
        first_step, second_step = (each.result(RUN_BOUND) for each in running)
    for step, events in ((first_step, {**sets[0], **sets[1]}), (second_step, sets[2])):
        assert step.calls
        assert [lines_of(step, key) for key in events] == [LINES] * len(events)
        assert sum("line " in line for line in step.log) == len(LINES) * len(events)
        assert started(stack, [*events]) == [1] * len(events)
        check_nothing_is_left(stack, [*events])


def test_output_arrives_once_in_order_and_with_its_key(
    emulator: Emulator, stack: ProxiedStack, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"PYTHONPATH": os.fspath(FUNCTIONS.parents[1]), "HEARTBEAT_INTERVAL": "0.5"}
    events = {key: {"key": key, "lines": 2, "prints": 20, "seconds": 0.5} for key in "abcd"}
    lost = Fault(READ, ResetBefore(), range(1, 99, 4), minimum=3)
    with (
        run_function(FUNCTIONS / "many", emulator_url=emulator.url, env=env) as function,
        stack.links["reader"].planned(lost),
    ):
        step = run_body(client_of(stack, forward_logs=True), calling(function.url, events))
    printed = [line for line in capsys.readouterr().out.splitlines() if " print " in line]
    assert not errors_of(step)
    assert len(printed) == 20 * len(events)
    for key in events:
        assert lines_of(step, key) == [f"{key} line {number}" for number in range(2)]
        of_key = [line for line in printed if line.startswith(f"[{key}] ")]
        assert of_key == [f"[{key}] {key} print {number}" for number in range(20)]


def test_more_connections_take_none_from_the_threads_that_use_the_client(stack: ProxiedStack) -> None:
    """Another step may look for its adapter at that very moment."""
    adapters = stack.storage_client._http.adapters  # noqa: SLF001
    looking = iter(adapters.items())
    next(looking)
    ObjectStore(stack.bucket, stack.storage_client).use_connections(7)
    assert next(looking)[1] is adapters["http://"]


def test_functions_without_our_runtime(emulator: Emulator, stack: ProxiedStack) -> None:
    """One opens no session. The other writes with Dagster's own parts, and its response says nothing of its chunks."""
    reads = Fault(READ, STORAGE_UNAVAILABLE, range(1, 99, 3), minimum=2)
    lists = Fault(LIST, STORAGE_UNAVAILABLE, {2})
    events = {"a": {"count": 2}, "b": {"count": 3}, "c": {"count": 0}}
    with (
        run_function(FUNCTIONS / "plain" / "main.py", emulator_url=emulator.url) as plain,
        run_function(FUNCTIONS / "stock" / "main.py", emulator_url=emulator.url) as stock,
        stack.links["reader"].planned(reads, lists),
    ):
        of_plain, of_stock = (run_body(client_of(stack), calling(function.url, events)) for function in (plain, stock))
    assert all("it opened no Pipes session" in error for error in errors_of(of_plain).values())
    assert [*of_plain.failed.errors] == [*events]
    assert [*of_stock.succeeded.succeeded] == [*events]
    assert [lines_of(of_stock, key) for key in events] == [
        [f"stock {n}" for n in range(event["count"])] for event in events.values()
    ]
