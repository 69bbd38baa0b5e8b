"""Uploads and the cancel marker of a function while Cloud Storage is unavailable, slow or forbidden."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests
from gcf_pipes import (
    PipesCancelledError,
    PipesCloudStorageMessageWriter,
    PipesCloudStorageMessageWriterChannel,
    PipesDeadlineExceededError,
    PipesMessagesNotStoredError,
    PipesStorageError,
)
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._encoding import make_message
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from dagster_gcf_pipes.local import storage_client as storage_of
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, run
from tests.faults.plan import (
    EVERY,
    READ,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Action,
    Delay,
    Fault,
    Stall,
    Unavailable,
    Unresponsive,
    after,
    first,
    storage_forbidden,
)
from tests.faults.proxy import FaultProxy
from tests.memory import MIB, memory_of_workers
from tests.quotes import Quote
from tests.sessions import bootstrap, stored_sessions, summarize
from tests.waiting import wait_until

FOR_EVER = 3600.0
ENDINGS = FUNCTIONS / "endings" / "main.py"
MARKER = READ.of("/cancel$")


@pytest.fixture(scope="module")
def proxy(emulator: Emulator) -> Iterator[FaultProxy]:
    """A proxy between the function and its bucket."""
    with FaultProxy(emulator.url, enforce_preconditions=not emulator.honours_preconditions) as proxy:
        yield proxy


@pytest.fixture
def proxied_client(proxy: FaultProxy) -> Iterator[storage.Client]:
    with closing(storage_of(proxy.url)) as client:
        yield client


@pytest.fixture(scope="module")
def function(proxy: FaultProxy) -> Iterator[FunctionServer]:
    with run_function(ENDINGS, emulator_url=proxy.url, threads=4) as server:
        yield server


@pytest.fixture
def fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcf_pipes._cancellation.POLL_INTERVAL", 0.2)
    monkeypatch.setattr("gcf_pipes._cancellation.POLL_TIMEOUT", 1.0)


def call(
    function: FunctionServer, bucket: str, *, prefix: str = "session", timeout: int | None = None, **event: object
) -> requests.Response:
    headers = {"Dagster-Pipes-Timeout": str(timeout)} if timeout else {}
    keys = bootstrap(bucket, prefix, include_stdio=True)
    return requests.post(function.url, json={**event, **keys}, headers=headers, timeout=120)


def write_until_refused(channel: PipesCloudStorageMessageWriterChannel) -> None:
    while True:
        channel.write_message(make_message("report_custom_message", {"payload": "x" * 100_000}))


# ------------------------------------------------------------------------------------------------------------- uploads


def test_an_outage_longer_than_any_timeout_costs_only_time(
    function: FunctionServer, proxy: FaultProxy, bucket: str, storage_client: storage.Client
) -> None:
    with proxy.planned(Fault(UPLOAD.of(r"/2\.json$"), Unavailable(8.0))):
        response = call(function, bucket, mode="levels", timeout=60)
    assert (response.status_code, response.headers["Dagster-Pipes-Chunk-Count"]) == (200, "2")
    assert summarize(stored_sessions(storage_client, bucket)["session"])[-2:] == ["at 60", "closed"]


def test_a_chunk_is_stored_soon_after_uploads_have_hung(
    proxy: FaultProxy,
    proxied_client: storage.Client,
    bucket: str,
    storage_client: storage.Client,
) -> None:
    """A hanging upload never ends: without another attempt soon, Dagster would take the function for dead."""
    writer = PipesCloudStorageMessageWriter(proxied_client, heartbeat_interval=0.5)
    with (
        proxy.planned(Fault(UPLOAD.of(r"/2\.json$"), Unresponsive(3.0))) as plan,
        writer.open({"bucket": bucket, "key_prefix": "session"}) as channel,
    ):
        for number in range(2):
            channel.write_message(make_message("report_custom_message", {"payload": number}))
        plan.wait_until_triggered(timeout=10)
        wait_until(storage_client.bucket(bucket).blob("session/2.json").exists, 9.0)


def test_a_claim_whose_acknowledgement_hangs_claims_the_session(
    function: FunctionServer, proxy: FaultProxy, client: PipesCloudFunctionClient
) -> None:
    with proxy.planned(Fault(UPLOAD.of(r"/1\.json$"), Stall(FOR_EVER, processed=True))):
        result, _ = run(calling_asset(function.url, {"mode": "ok"}), client)
    assert result.success


def test_a_claim_that_hangs_is_given_up_after_its_timeout(
    proxy: FaultProxy, proxied_client: storage.Client, bucket: str
) -> None:
    writer = PipesCloudStorageMessageWriter(proxied_client, heartbeat_interval=1, upload_timeout=4)
    channel = writer.open_channel({"bucket": bucket, "key_prefix": "session"}, CallDeadline())
    started = time.monotonic()
    with proxy.planned(Fault(UPLOAD, Stall(FOR_EVER), EVERY, minimum=3)), pytest.raises(PipesStorageError):
        channel.write_message(make_message("opened", {"extras": {}}))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("fault", [STORAGE_UNAVAILABLE, Stall(FOR_EVER)])
def test_the_last_flush_ends_with_the_runs_deadline(
    function: FunctionServer, proxy: FaultProxy, bucket: str, fault: Action
) -> None:
    started = time.monotonic()
    with proxy.planned(Fault(UPLOAD, fault, after(1))):
        response = call(function, bucket, mode="levels", timeout=3)
        assert time.monotonic() - started < 10
    assert response.status_code == 500
    assert "9 Pipes messages could not be stored after chunk 1" in response.json()["error"]["message"]


def test_a_pipes_call_waits_for_room_until_the_runs_deadline(
    proxy: FaultProxy, proxied_client: storage.Client, bucket: str
) -> None:
    writer = PipesCloudStorageMessageWriter(proxied_client, upload_timeout=1)
    params = {"bucket": bucket, "key_prefix": uuid.uuid4().hex}
    deadline = CallDeadline(30, arrived=time.monotonic() - 26)  # 1 s for work, and then 2.7 s for the last flush
    with proxy.planned(Fault(UPLOAD, STORAGE_UNAVAILABLE, after(1))):
        channel = writer.open_channel(params, deadline)
        with pytest.raises(PipesDeadlineExceededError, match=r"ran out of time after 2[78] s"):
            write_until_refused(channel)
        with pytest.raises(PipesMessagesNotStoredError):
            channel.close()


def test_a_pipes_call_waits_for_room_until_the_run_is_cancelled(
    proxy: FaultProxy,
    proxied_client: storage.Client,
    bucket: str,
    storage_client: storage.Client,
    fast_polls: None,
    quote: Quote,
) -> None:
    writer = PipesCloudStorageMessageWriter(proxied_client, upload_timeout=1)
    storage_client.bucket(bucket).blob("session/cancel").upload_from_string(b"")
    with proxy.planned(Fault(UPLOAD, STORAGE_UNAVAILABLE, after(1))):
        channel = writer.open_channel({"bucket": bucket, "key_prefix": "session"}, CallDeadline())
        with pytest.raises(PipesCancelledError) as cancelled:
            write_until_refused(channel)
        quote("cancelled", str(cancelled.value))
        with pytest.raises(PipesMessagesNotStoredError):
            channel.close()


def test_the_runs_deadline_counts_from_the_arrival_of_its_request(
    function: FunctionServer, proxy: FaultProxy, bucket: str, storage_client: storage.Client
) -> None:
    with proxy.planned(Fault(UPLOAD.of(r"/1\.json$"), Delay(3.0))):
        assert call(function, bucket, mode="loops", timeout=5).status_code == 500
    closed = stored_sessions(storage_client, bucket)["session"][-1]
    text = closed["params"]["exception"]["message"]
    assert re.search(r"PipesDeadlineExceededError: The function ran out of time after [45] s", text)


# -------------------------------------------------------------------------------------------------------------- output


def test_output_that_does_not_fit_is_dropped_counted_and_reported(
    function: FunctionServer, proxy: FaultProxy, bucket: str, storage_client: storage.Client
) -> None:
    with proxy.planned(Fault(UPLOAD.of(r"/2\.json$"), Unavailable(6.0))):
        assert call(function, bucket, mode="prints_much", mib=20).status_code == 200
    messages = stored_sessions(storage_client, bucket)["session"]
    printed = len([message for message in messages if message["method"] == "log_external_stream"])
    warning, closed = messages[-2:]
    text = f"[pipes] {20 * 1024 - printed:,} pieces of the function's output were dropped here"
    assert warning["params"]["level"] == "WARNING"
    assert warning["params"]["message"].startswith(text)
    assert closed["method"] == "closed"
    function.child.wait_for_output(text)


def test_a_handler_may_send_our_warnings_to_the_session(
    function: FunctionServer, proxy: FaultProxy, bucket: str, storage_client: storage.Client
) -> None:
    with proxy.planned(Fault(UPLOAD.of(r"/2\.json$"), Unavailable(3.0))):
        assert call(function, bucket, mode="bridges_logging", mib=20).status_code == 200
    assert "exception" not in stored_sessions(storage_client, bucket)["session"][-1]["params"]


def test_output_is_not_kept_after_an_upload_has_failed(proxy: FaultProxy, bucket: str) -> None:
    with run_function(ENDINGS, emulator_url=proxy.url) as function:  # a new one, whose peak of memory is low
        call(function, bucket, mode="prints_much", mib=10, prefix="before")
        before = memory_of_workers("VmHWM", function.child.process.pid)
        with proxy.planned(Fault(UPLOAD, storage_forbidden(), after(1))):
            response = call(function, bucket, mode="prints_much", mib=60)
        assert response.json()["error"]["code"] == "messages_not_stored"
        assert memory_of_workers("VmHWM", function.child.process.pid) - before < 40 * MIB


# -------------------------------------------------------------------------------------------------------- cancel marker


def open_session(client: storage.Client, bucket: str) -> PipesCloudStorageMessageWriterChannel:
    channel = PipesCloudStorageMessageWriter(client).open_channel(
        {"bucket": bucket, "key_prefix": "session"}, CallDeadline()
    )
    channel.write_message(make_message("opened", {"extras": {}}))
    return channel


@pytest.mark.parametrize("fault", [storage_forbidden("storage.objects.get"), Stall(0.1), STORAGE_UNAVAILABLE])
def test_polling_for_the_marker_goes_on_after_an_error(
    proxy: FaultProxy,
    proxied_client: storage.Client,
    bucket: str,
    storage_client: storage.Client,
    fast_polls: None,
    caplog: pytest.LogCaptureFixture,
    fault: Action,
) -> None:
    with proxy.planned(Fault(MARKER, fault, first(8))) as plan:
        channel = open_session(proxied_client, bucket)
        storage_client.bucket(bucket).blob("session/cancel").upload_from_string(b"")
        wait_until(lambda: channel.cancelled)
        plan.wait_until_triggered(timeout=10)
    with pytest.raises(PipesCancelledError):
        channel.write_message(make_message("report_custom_message", {"payload": 1}))
    channel.close()
    warnings = [record for record in caplog.records if "cannot tell whether Dagster" in record.message]
    assert len(warnings) == 1


def test_a_stalled_read_of_the_marker_delays_nothing_else(
    proxy: FaultProxy, proxied_client: storage.Client, bucket: str, storage_client: storage.Client, fast_polls: None
) -> None:
    with proxy.planned(Fault(MARKER, Stall(FOR_EVER), EVERY)) as plan:
        channel = open_session(proxied_client, bucket)
        plan.wait_until_triggered(timeout=10)
        started = time.monotonic()
        channel.write_message(make_message("report_custom_message", {"payload": 1}))
        wait_until(lambda: channel.chunk_count == 2)
        channel.write_message(make_message("closed", {}))
        channel.close()
        assert time.monotonic() - started < 5
    assert summarize(stored_sessions(storage_client, bucket)["session"]) == [
        "opened",
        "report_custom_message",
        "closed",
    ]
