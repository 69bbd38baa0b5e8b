"""Ends that do not come with the function's response: unreadable messages, failed and stalled uploads."""

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from dagster_pipes import PipesMessage
from gcf_pipes import PipesCloudStorageMessageWriter, PipesCloudStorageMessageWriterChannel, PipesMessagesNotStoredError
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator, FunctionServer
from dagster_gcf_pipes.local import storage_client as storage_of
from tests.dagster_runs import calling_asset, run, step_error
from tests.faults.accounting import ActivePlan
from tests.faults.plan import EVERY, READ, UPLOAD, Fault, Stall, Unavailable, after, storage_forbidden
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient
from tests.quotes import Quote
from tests.sessions import stored_sessions, summarize
from tests.waiting import wait_until

FOR_EVER = 3600.0


@pytest.fixture
def proxy(emulator: Emulator) -> Iterator[FaultProxy]:
    """A proxy between Dagster and its bucket."""
    with FaultProxy(emulator.url) as proxy:
        yield proxy


def test_unreadable_messages_fail_the_step_and_end_the_function(
    function: FunctionServer, bucket: str, storage_client: storage.Client, proxy: FaultProxy
) -> None:
    client = ProxiedClient(bucket=bucket, api_endpoint=proxy.url, function_timeout=3600)
    forbidden = Fault(READ.of(r"/2\.json$"), storage_forbidden("storage.objects.get"), EVERY)
    with proxy.planned(forbidden):
        result, _ = run(calling_asset(function.url, {"mode": "loops_with_messages"}), client)
    error = step_error(result)
    assert "pipes@local.iam.gserviceaccount.com does not have storage.objects.get access" in error
    assert f"`storage.objects.get` and `storage.objects.list` on the bucket '{bucket}', for example with" in error
    assert f"gs://{bucket} --member=serviceAccount:pipes@local.iam.gserviceaccount.com" in error

    def last_message() -> str:
        (messages,) = stored_sessions(storage_client, bucket).values()
        return summarize(messages)[-1]

    wait_until(lambda: last_message() == "closed with PipesCancelledError")


@pytest.mark.parametrize("upload_timeout", [30.0, 0.5])
def test_a_writer_with_a_full_buffer_waits_and_loses_nothing(
    emulator: Emulator, bucket: str, storage_client: storage.Client, upload_timeout: float
) -> None:
    prefix = uuid.uuid4().hex
    away = Fault(UPLOAD.of(r"/2\.json$"), Unavailable(4 * min(upload_timeout, 1.0)))
    with FaultProxy(emulator.url) as proxy, closing(storage_of(proxy.url)) as client, proxy.planned(away):
        writer = PipesCloudStorageMessageWriter(
            client, max_chunk_bytes=500, max_buffer_bytes=2000, upload_timeout=upload_timeout
        )
        with writer.open({"bucket": bucket, "key_prefix": prefix}) as channel:
            for number in range(200):
                channel.write_message(log(number))
    assert summarize(stored_sessions(storage_client, bucket)[prefix]) == [f"line {number}" for number in range(200)]


def test_a_writer_counts_messages_after_a_failed_upload(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    prefix = uuid.uuid4().hex
    forbidden = Fault(UPLOAD, storage_forbidden(), after(1))
    written = 0

    def write_for_ever(channel: PipesCloudStorageMessageWriterChannel) -> None:
        nonlocal written
        while True:
            written += 1
            channel.write_message(log(written))

    with FaultProxy(emulator.url) as proxy, closing(storage_of(proxy.url)) as client, proxy.planned(forbidden):
        writer = PipesCloudStorageMessageWriter(client, max_chunk_bytes=500, max_buffer_bytes=2000)
        session = writer.open({"bucket": bucket, "key_prefix": prefix})
        with pytest.raises(PipesMessagesNotStoredError) as raised, session as channel:
            write_for_ever(channel)
    assert len(stored_sessions(storage_client, bucket)[prefix]) == 1
    assert f"{written - 1} Pipes messages could not be stored after chunk 1" in str(raised.value)


def write_while_an_upload_stalls(channel: PipesCloudStorageMessageWriterChannel, plan: ActivePlan) -> None:
    channel.write_message(log(0))
    channel.write_message(log(1))
    plan.wait_until_triggered(timeout=10)
    channel.write_message(log(2))


def test_a_writer_counts_the_messages_of_a_stalled_upload(emulator: Emulator, bucket: str, quote: Quote) -> None:
    stalled = Fault(UPLOAD.of(r"/2\.json$"), Stall(FOR_EVER), EVERY)
    with FaultProxy(emulator.url) as proxy, closing(storage_of(proxy.url)) as client, proxy.planned(stalled) as plan:
        writer = PipesCloudStorageMessageWriter(client, flush_interval=0, upload_timeout=1)
        session = writer.open({"bucket": bucket, "key_prefix": uuid.uuid4().hex})
        with pytest.raises(PipesMessagesNotStoredError) as raised, session as channel:
            write_while_an_upload_stalls(channel, plan)
    quote("messages_not_stored", str(raised.value))


def log(number: int) -> PipesMessage:
    return {
        "__dagster_pipes_version": "0.1",
        "method": "log",
        "params": {"message": f"line {number}", "level": "INFO"},
    }
