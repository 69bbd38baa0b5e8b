"""`run_many` against a storage and a function for thousands of calls, with everything that can go wrong in between."""

import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, TypeAlias

import pytest
from dagster import AssetExecutionContext, RetryPolicy, asset, build_asset_context

from dagster_gcf_pipes import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionBucketError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionClient,
    PipesCloudFunctionCompletedCalls,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionRaisedError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes.local import storage_client
from tests.faults.plan import EVERY, LIST, READ, Fault, Status, Unavailable, storage_forbidden
from tests.faults.proxy import FaultProxy
from tests.many.events import Event
from tests.many.simulated_platform import SimulatedPlatform
from tests.many.steps import Step, run_body, run_step
from tests.waiting import in_background, wait_until

MakeClient: TypeAlias = Callable[..., PipesCloudFunctionClient]


def quick(count: int, **event: Any) -> dict[str, Any]:
    """Return the events of calls that log two lines each."""
    return {f"k{number}": {"key": f"k{number}", "lines": 2, **event} for number in range(count)}


def responses(step: Step) -> list[str]:
    return [call.response.json()["key"] for call in step.succeeded.succeeded.values()]


@contextmanager
def storage_faults(
    platform: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch, *faults: Fault
) -> Iterator[FaultProxy]:
    """Put faults between Dagster and its bucket. The functions have none."""
    with FaultProxy(platform.storage_url, faults) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


# ----------------------------------------------------------------------------------------------------- what is promised


def test_a_thousand_calls_lose_double_and_mix_nothing(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient
) -> None:
    events = {f"k{number}": {"key": f"k{number}", "lines": 3, "custom_message": number} for number in range(1000)}
    threads_before, most_threads = threading.active_count(), 0

    def body(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> PipesCloudFunctionCompletedCalls:
        nonlocal most_threads
        done = threading.Event()

        def watch() -> None:
            nonlocal most_threads
            while not done.wait(0.05):
                most_threads = max(most_threads, threading.active_count())

        watching = in_background(watch)
        calls = client.run_many(context=context, function_url=platform.function_url, events=events, max_concurrency=200)
        done.set()
        watching.result(10)
        return calls

    step = run_body(client, body)
    figures = platform.figures()
    assert responses(step) == list(events)
    assert list(step.succeeded.get_custom_messages()) == list(range(1000))
    assert Counter(line for line in step.log if " line " in line) == Counter(
        f"[{key}] {key} line {number}" for key in events for number in range(3)
    )
    assert all(step.lines_of(key) == [f"{key} line {number}" for number in range(3)] for key in events)
    assert set(figures.executions.values()) == {1}
    assert len(figures.executions) == 1000
    reads = Counter(figures.names("GET"))
    assert set(reads.values()) == {1}, "a chunk was fetched more than once"
    assert figures.most_in_a_second("LIST") <= 3
    assert figures.connections <= 200 + 100, "connections were not reused"
    assert most_threads <= threads_before + 200 + 60


def test_a_platform_with_few_instances_costs_time_and_no_failure(
    platform: SimulatedPlatform, make_client: MakeClient
) -> None:
    """Each call is refused several times before it runs."""
    events = {key: {**event, "platform": [429, 500, 429]} for key, event in quick(10).items()}
    step = run_step(make_client(max_attempts=1), platform.function_url, events)
    assert responses(step) == list(events)
    assert step.succeeded.metadata["cloud_function/refused_attempts"].value == 30


def test_calls_fail_with_a_clear_error_if_the_platform_never_has_an_instance(
    platform: SimulatedPlatform, make_client: MakeClient
) -> None:
    client = make_client(retry_timeout=2)
    step = run_step(client, platform.function_url, quick(300, platform=[429] * 300))
    assert "300 of 300 calls failed (300 PipesCloudFunctionCallError)" in str(step.failed.description)
    assert "no available instance" in str(step.failed.description)
    assert not platform.figures().executions


FATES: dict[str, tuple[Event, type[Exception] | None]] = {
    "fine": ({}, None),
    "refused": ({"platform": [429, 429]}, None),
    "no-instance": ({"platform": [500]}, None),
    "unavailable": ({"platform": [503]}, None),
    "many-lines": ({"lines": 5000, "seconds": 2}, None),
    "prints": ({"prints": 3}, None),
    "raises": ({"ending": "raises"}, PipesCloudFunctionRaisedError),
    "status": ({"status": 418}, PipesCloudFunctionCallError),
    "dies": ({"ending": "dies"}, PipesCloudFunctionCallError),
    "freezes": ({"ending": "freezes"}, PipesCloudFunctionCallError),
    "unauthorized": ({"platform": [401]}, PipesCloudFunctionAccessError),
    "forbidden": ({"platform": [403]}, PipesCloudFunctionAccessError),
    "not-found": ({"platform": [404]}, PipesCloudFunctionAccessError),
    "redirect": ({"platform": [302]}, PipesCloudFunctionCallError),
    "always-503": ({"platform": [503] * 100}, PipesCloudFunctionCallError),
}
"""What happens to calls, and the error with which they fail."""


def test_each_call_has_its_own_fate(
    platform: SimulatedPlatform, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", 1.0)
    client = make_client(function_timeout=4)
    events: dict[str, Any] = {key: {"key": key, "lines": 2, **event} for key, (event, _) in FATES.items()}
    step = run_step(client, platform.function_url, events, tolerate_failures=len(FATES))
    errors = {key: type(error) for key, error in step.succeeded.failed.items()}
    assert errors == {key: error for key, (_, error) in FATES.items() if error}
    assert list(step.succeeded.calls) == list(FATES)
    assert step.lines_of("many-lines") == [f"many-lines line {number}" for number in range(5000)]
    ran = platform.figures().executions
    assert set(ran.values()) == {1}
    assert not ran.keys() & {"unauthorized", "forbidden", "not-found", "redirect", "always-503"}


def test_a_function_that_never_stops_writing_is_given_up_after_its_timeout(
    platform: SimulatedPlatform, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform answers 504 at the timeout, and does not stop the container."""
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", 1.0)
    client = make_client(function_timeout=1)
    started = time.monotonic()
    step = run_step(client, platform.function_url, {"endless": {"key": "endless", "lines": 400, "seconds": 40}})
    assert time.monotonic() - started < 20
    assert list(step.failed.errors) == ["endless"]
    wait_until(lambda: platform.figures().running == 0, 10)


# -------------------------------------------------------------------------------------------------------- storage fails


def test_a_storage_that_is_away_for_a_while_costs_only_time(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Unavailable(6.0)
    with storage_faults(platform, monkeypatch, Fault(READ.of(r"/1\.json$"), away), Fault(LIST, away, {3})):
        step = run_step(client, platform.function_url, quick(40, seconds=2))
    assert responses(step) == [f"k{number}" for number in range(40)]
    assert set(platform.figures().executions.values()) == {1}


def test_no_function_runs_if_the_bucket_cannot_be_listed(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage_faults(platform, monkeypatch, Fault(LIST, storage_forbidden("storage.objects.list"), EVERY)):
        step = run_step(client, platform.function_url, quick(20))
    assert isinstance(step.error, PipesCloudFunctionBucketError)
    assert "storage.objects.list" in str(step.error.description)
    assert not platform.figures().executions


def test_a_missing_and_a_garbled_chunk_fail_only_their_calls(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Fault(READ.of(r"/0000003/2\.json$"), Status(404), EVERY)
    garbled = Fault(READ.of(r"/0000007/1\.json$"), Status(200, b"not a message\n"), EVERY)
    with storage_faults(platform, monkeypatch, missing, garbled):
        step = run_step(client, platform.function_url, quick(20, seconds=0.5))
    assert {key: type(error) for key, error in step.failed.errors.items()} == {
        "k2": PipesCloudFunctionMessagesError,
        "k6": PipesCloudFunctionMessagesError,
    }


# ----------------------------------------------------------------------------------------------------------- what stops


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_terminated_step_stops_all_functions_and_starts_no_other(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient, sent: signal.Signals
) -> None:
    threads = set(threading.enumerate())

    def interrupt() -> None:
        wait_until(lambda: platform.figures().running >= 20)
        os.kill(os.getpid(), sent)

    def body(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> PipesCloudFunctionCompletedCalls:
        interrupting = in_background(interrupt)
        try:
            return client.run_many(
                context=context,
                function_url=platform.function_url,
                events=quick(60, ending="hangs"),
                max_concurrency=20,
            )
        finally:
            interrupting.result(10)

    assert run_body(client, body).calls is None
    wait_until(lambda: platform.figures().running == 0, 20)
    assert len(platform.figures().executions) == 20
    wait_until(lambda: not {each.name for each in set(threading.enumerate()) - threads if "pipes" in each.name}, 10)


def test_fail_fast_stops_the_calls_that_run(platform: SimulatedPlatform, client: PipesCloudFunctionClient) -> None:
    events = {"bad": {"key": "bad", "ending": "raises"}, **quick(20, ending="hangs")}
    step = run_step(client, platform.function_url, events, fail_fast=True, max_concurrency=3)
    assert list(step.failed.errors) == ["bad"]
    wait_until(lambda: platform.figures().running == 0, 20)
    assert len(platform.figures().executions) <= 4


# ------------------------------------------------------------------------------------------------------------ arguments


WRONG_EVENTS: list[Any] = [[{}], {"": {}}, {"a\nb": {}}, {1: {}}, {"a": 1}, {"a": {"b": object()}}]


def tolerated(value: object) -> dict[str, Any]:
    return {"tolerate_failures": value}


@pytest.mark.parametrize(
    ("arguments", "succeeds"), [(tolerated(0), False), (tolerated(3), True), (tolerated(0.1), False)]
)
def test_so_many_calls_may_fail(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient, arguments: dict[str, Any], *, succeeds: bool
) -> None:
    events = {**quick(17), **{f"bad{number}": {"ending": "raises"} for number in range(3)}}
    step = run_step(client, platform.function_url, events, **arguments)
    assert (step.calls is not None) == succeeds


@pytest.mark.parametrize(
    "arguments",
    [
        *map(tolerated, (-1, 1.0, True, float("nan"), "0.1")),
        *({"max_concurrency": value} for value in (0, 10_001, 2.5, True)),
        *({"events": value} for value in WRONG_EVENTS),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_runs(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient, arguments: dict[str, Any]
) -> None:
    step = run_step(client, platform.function_url, **{"events": {"a": {}}, **arguments})
    assert isinstance(step.error, PipesCloudFunctionRequestError)
    assert not platform.figures().names("POST")


ODD_KEYS = ["https://example.com/a?b=c", "..", "a/b", "ключ 🗝", "x" * 500, "[k]", "%s {}", " "]


def test_keys_may_be_any_line_and_events_may_be_equal_or_empty(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient
) -> None:
    step = run_step(client, platform.function_url, {key: {} for key in ODD_KEYS})
    assert list(step.succeeded.succeeded) == ODD_KEYS
    assert platform.figures().executions == {"call": len(ODD_KEYS)}


def test_no_events_are_no_calls(platform: SimulatedPlatform, client: PipesCloudFunctionClient) -> None:
    assert run_step(client, platform.function_url, {}).succeeded.calls == {}


@pytest.mark.parametrize("max_concurrency", [1, 3])
def test_no_more_calls_run_than_allowed(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient, max_concurrency: int
) -> None:
    step = run_step(client, platform.function_url, quick(8, seconds=0.1), max_concurrency=max_concurrency)
    assert len(step.succeeded.succeeded) == 8
    assert platform.figures().peak_running == max_concurrency


def test_large_contexts_and_events_arrive(platform: SimulatedPlatform, make_client: MakeClient) -> None:
    client = make_client(inline_context_limit=100)
    events = {key: {**event, "padding": "x" * 5 * 2**20} for key, event in quick(3).items()}
    assert responses(run_step(client, platform.function_url, events)) == list(events)


def test_a_process_that_may_open_few_files_makes_fewer_calls_at_once(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files + 64 + 30, limits[1]))
    try:
        step = run_step(client, platform.function_url, quick(100, seconds=0.2), max_concurrency=100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(step.succeeded.succeeded) == 100
    assert any("`ulimit -n`" in line for line in step.log)
    assert 10 < platform.figures().peak_running <= 30


# -------------------------------------------------------------------------------------------------- several in one step


def test_two_sets_of_calls_and_a_single_call_in_one_step_do_not_mix(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient
) -> None:
    def make(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> Callable[[], list[str]]:
        def calls() -> list[str]:
            made = client.run_many(context=context, function_url=platform.function_url, events=quick(20, seconds=0.3))
            return [call.response.json()["key"] for call in made.succeeded.values()]

        return calls

    def body(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> PipesCloudFunctionCompletedCalls:
        at_once = [in_background(make(context, client)) for _ in range(2)]
        single = client.run(context=context, function_url=platform.function_url, event={"key": "single"})
        assert single.response.json() == {"key": "single"}
        assert [each.result(60) for each in at_once] == [[f"k{number}" for number in range(20)]] * 2
        return client.run_many(context=context, function_url=platform.function_url, events=quick(5))

    assert len(run_body(client, body).succeeded.succeeded) == 5
    assert platform.figures().executions["k0"] == 3


def test_an_asset_can_be_called_directly_in_a_test(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient
) -> None:
    @asset
    def pages(context: AssetExecutionContext) -> list[str]:
        calls = client.run_many(context=context, function_url=platform.function_url, events=quick(3))
        return [call.response.json()["key"] for call in calls.succeeded.values()]

    assert pages(build_asset_context()) == ["k0", "k1", "k2"]


def test_a_retry_adopts_each_of_two_sets_of_calls(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient
) -> None:
    """The first set must not stop the second one, whose functions still run: the attempt makes it a moment later."""
    second = {f"second{number}": {"key": f"second{number}", "seconds": 8} for number in range(5)}

    def body(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> PipesCloudFunctionCompletedCalls:
        make = partial(client.run_many, context=context, function_url=platform.function_url)
        make(events=quick(5))
        if context.op_execution_context.retry_number == 0:
            in_background(partial(make, events=second))
            wait_until(lambda: platform.figures().executions.keys() >= second.keys())
            raise RuntimeError("a mistake in the step's own code")
        return make(events=second)

    step = run_body(client, body, retry_policy=RetryPolicy(max_retries=1))
    assert responses(step) == list(second)
    assert step.succeeded.metadata["cloud_function/adopted_calls"].value == 5
    assert set(platform.figures().executions.values()) == {1}


def test_a_terminated_retry_stops_the_calls_that_it_has_adopted(
    platform: SimulatedPlatform, client: PipesCloudFunctionClient
) -> None:
    events = quick(5, ending="hangs")

    def claims_read() -> Counter[str]:
        return Counter(name for name in platform.figures().names("GET") if name.endswith("/1.json"))

    def body(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> PipesCloudFunctionCompletedCalls:
        make = partial(client.run_many, context=context, function_url=platform.function_url, events=events)
        if context.op_execution_context.retry_number == 0:
            in_background(make)
            wait_until(lambda: [*claims_read().values()] == [1] * len(events))
            raise RuntimeError("a mistake in the step's own code")

        def interrupt() -> None:
            wait_until(lambda: [*claims_read().values()] == [3] * len(events))  # a look at each, and the messages
            os.kill(os.getpid(), signal.SIGTERM)

        in_background(interrupt)
        return make()

    assert run_body(client, body, retry_policy=RetryPolicy(max_retries=1)).calls is None
    with closing(storage_client(platform.storage_url)) as storage:
        stored = [blob.name.split("/") for blob in storage.list_blobs(client.bucket)]
    roots = {tuple(path[:4]) for path in stored if path[-1] == "calls.json"}
    assert {tuple(path[:-1]) for path in stored if path[-1] == "cancel"} >= roots, "a marker for all calls is missing"
    wait_until(lambda: platform.figures().running == 0, 20)
    assert set(platform.figures().executions.values()) == {1}
