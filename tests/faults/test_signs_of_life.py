"""Dagster notices soon that a function has crashed, and never gives up a function that lives."""

from collections.abc import Iterator

import pytest
from dagster import ExecuteInProcessResult
from gcf_pipes._shared.protocol import HEARTBEAT_INTERVAL
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes._messages.session_reader import MAX_SILENT_HEARTBEATS
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, failure_text, run, step_error
from tests.faults.plan import (
    CALL,
    EVERY,
    INSTANCE_DIED,
    READ,
    Action,
    DelayAnswer,
    DeliverLate,
    Fault,
    ResetAfter,
    Stall,
    StatusAfter,
    Unavailable,
    after,
)
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient
from tests.quotes import Quote

HEARTBEATS = FUNCTIONS / "heartbeats" / "main.py"
DEAD_WITHIN = 20.0
"""Seconds of a call whose function crashes after at most two, with a heartbeat each 0.5 s, on a busy machine."""


@pytest.fixture(scope="module")
def heartbeats(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_function(HEARTBEATS, emulator_url=emulator.url) as server:
        yield server


@pytest.fixture(scope="module")
def link(heartbeats: FunctionServer) -> Iterator[FaultProxy]:
    """A proxy between Dagster and the function."""
    with FaultProxy(heartbeats.url) as proxy:
        yield proxy


@pytest.fixture
def crashing(emulator: Emulator) -> Iterator[FunctionServer]:
    """A function for one test, which crashes."""
    with run_function(HEARTBEATS, emulator_url=emulator.url) as server:
        yield server
        server.child.process.kill()  # gunicorn would wait for a worker that is stopped


@pytest.fixture
def storage_link(emulator: Emulator) -> Iterator[FaultProxy]:
    """A proxy between Dagster and its bucket."""
    with FaultProxy(emulator.url) as proxy:
        yield proxy


@pytest.fixture
def fast_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_gcf_pipes._messages.chunk_stream.READ_TIMEOUT", 2.0)


def duration(result: ExecuteInProcessResult) -> float:
    """Return the duration of a failed step's call in seconds."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    seconds = failure.metadata["cloud_function/duration_seconds"].value
    assert isinstance(seconds, float)
    return seconds


@pytest.mark.parametrize("how", ["exits", "is killed"])
def test_a_crash_fails_the_step_soon_with_all_stored_messages(
    crashing: FunctionServer, bucket: str, how: str, quote: Quote
) -> None:
    """The function's timeout is an hour, and by default the step fails after 30 s of silence."""
    assert MAX_SILENT_HEARTBEATS * HEARTBEAT_INTERVAL == 30
    event = {"mode": "dies", "how": how, "seconds": 1.5}
    result, lines = run(calling_asset(crashing.url, event), PipesCloudFunctionClient(bucket=bucket))
    assert lines == ["before"]
    quote("no_sign_of_life", failure_text(result))
    assert duration(result) < DEAD_WITHIN


@pytest.mark.parametrize(
    "fault",
    [StatusAfter(503, INSTANCE_DIED.body, within=2.0), ResetAfter(within=2.0)],
    ids=["503 of the platform", "reset"],
)
def test_a_crash_reported_by_a_proxy_fails_the_step_soon(crashing: FunctionServer, bucket: str, fault: Action) -> None:
    event = {"mode": "dies", "how": "stops", "seconds": 0.5}
    with FaultProxy(crashing.url, [Fault(CALL, fault)]) as link:
        result, lines = run(calling_asset(link.url, event), PipesCloudFunctionClient(bucket=bucket))
    assert lines == ["before"]
    assert "The function has shown no sign of life for" in step_error(result)
    assert duration(result) < DEAD_WITHIN


@pytest.mark.parametrize(
    "fault",
    [ResetAfter(within=0.3), StatusAfter(503, within=0.3), DeliverLate(1.0), DeliverLate(1.0, INSTANCE_DIED)],
    ids=["reset", "503", "reset, and started later", "503, and started later"],
)
def test_a_lost_call_is_followed_while_its_function_is_silent(link: FaultProxy, bucket: str, fault: Action) -> None:
    """The function is silent for four times as long as a crashed one would be given."""
    client = PipesCloudFunctionClient(bucket=bucket, retry_delay=0.5)
    with link.planned(Fault(CALL, fault)):
        result, lines = run(calling_asset(link.url, {"mode": "waits", "seconds": 6}), client)
    assert result.success
    assert lines == ["before", "after"]


def test_an_unreadable_bucket_costs_only_time(
    heartbeats: FunctionServer, storage_link: FaultProxy, bucket: str
) -> None:
    client = ProxiedClient(bucket=bucket, api_endpoint=storage_link.url)
    with storage_link.planned(Fault(READ.of(r"/[2-9]\.json$"), Unavailable(6.0))):
        result, lines = run(calling_asset(heartbeats.url, {"mode": "waits", "seconds": 3}), client)
    assert result.success
    assert lines == ["before", "after"]


@pytest.mark.parametrize("fault", [Unavailable(6.0), Stall(4.0)], ids=["unavailable", "stalls"])
def test_an_unreadable_bucket_after_a_lost_call_costs_only_time(
    link: FaultProxy, storage_link: FaultProxy, bucket: str, fast_reads: None, fault: Action
) -> None:
    client = ProxiedClient(bucket=bucket, api_endpoint=storage_link.url)
    with (
        link.planned(Fault(CALL, ResetAfter(within=0.3))),
        storage_link.planned(Fault(READ.of(r"/[3-9]\.json$"), fault)),
    ):
        result, lines = run(calling_asset(link.url, {"mode": "waits", "seconds": 5}), client)
    assert result.success
    assert lines == ["before", "after"]


def test_a_bucket_that_stays_unreadable_ends_at_the_deadline(
    heartbeats: FunctionServer, storage_link: FaultProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dagster_gcf_pipes._messages.chunk_stream.MIN_DRAIN_DEADLINE", 1.0
    )  # else the test takes a minute
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", 1.0)
    client = ProxiedClient(bucket=bucket, api_endpoint=storage_link.url, function_timeout=5)
    with storage_link.planned(Fault(READ.of(r"/[2-9]\.json$"), Unavailable(3600), EVERY)):
        result, _ = run(calling_asset(heartbeats.url, {"mode": "waits", "seconds": 1}), client)
    assert "Could not read and handle all messages of the function: Cannot read gs://" in step_error(result)


def test_a_chunk_that_takes_longer_than_a_read_timeout_is_read(
    heartbeats: FunctionServer, storage_link: FaultProxy, bucket: str, fast_reads: None
) -> None:
    """A large chunk on a slow line: each retry has twice the time."""
    slow = Fault(READ.of(r"/2\.json$").answered(200), DelayAnswer(3.0), EVERY)
    client = ProxiedClient(bucket=bucket, api_endpoint=storage_link.url)
    with storage_link.planned(slow):
        result, lines = run(calling_asset(heartbeats.url, {"mode": "waits", "seconds": 0}), client)
    assert result.success
    assert lines == ["before", "after"]


def test_an_idle_function_costs_few_requests(
    heartbeats: FunctionServer, storage_link: FaultProxy, bucket: str, storage_client: storage.Client
) -> None:
    """The reader polls each 1.5 s, and once more for each heartbeat: heartbeats do not make it poll faster."""
    client = ProxiedClient(bucket=bucket, api_endpoint=storage_link.url, cleanup="never")
    result, _ = run(calling_asset(heartbeats.url, {"mode": "waits", "seconds": 10}), client)
    assert result.success
    chunks = len(list(storage_client.list_blobs(bucket)))
    found = [request for request in storage_link.requests if request.kind == "read" and request.status == 200]
    missed = [request for request in storage_link.requests if request.kind == "read" and request.status == 404]
    assert len(found) == chunks
    assert chunks >= 15
    assert len(missed) < 25


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_call_given_up_closes_its_session_to_late_deliveries(
    emulator: Emulator, link: FaultProxy, bucket: str, storage_client: storage.Client, attempts: int
) -> None:
    """The late deliveries arrive at the end of the plan, after the verdict."""
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    client = PipesCloudFunctionClient(bucket=bucket, max_attempts=attempts, retry_delay=0.1)
    late = Fault(CALL, DeliverLate(3600))
    with link.planned(late, Fault(CALL, DeliverLate(3600, INSTANCE_DIED), after(1), minimum=0)):
        result, lines = run(calling_asset(link.url, {"mode": "waits", "seconds": 0}), client)
    assert "Your code has not run. It will not run for this call" in step_error(result)
    assert lines == []
    names = sorted(blob.name.rpartition("/")[2] for blob in storage_client.list_blobs(bucket))
    assert names == ["1.json", "cancel"]
