"""A call that is ended from outside: Dagster terminates the run, or the function reaches its timeout."""

import math
import signal
from typing import Any

import pytest
from gcf_pipes import (
    PipesCloudStorageMessageWriter,
    PipesCloudStorageMessageWriterChannel,
    PipesMessagesNotStoredError,
)
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._chunk_buffer import ChunkBuffer
from gcf_pipes._encoding import make_message
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from dagster_gcf_pipes.local._processes import python_command, run_process
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, run, step_error
from tests.faults.plan import CALL, Delay, Fault
from tests.faults.proxy import FaultProxy
from tests.quotes import Quote
from tests.sessions import call, stored_sessions, summarize
from tests.waiting import wait_until

TERMINATED = """
import sys
from dagster import materialize
from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.quotes import Quote
from tests.dagster_runs import calling_asset
from tests.quotes import Quote

url, bucket, mode = sys.argv[1:]
orders = calling_asset(url, {"mode": mode, "status": 200})
materialize([orders], resources={"cloud_function": PipesCloudFunctionClient(bucket=bucket, drain_timeout=600)})
"""


@pytest.mark.parametrize(
    ("mode", "seen", "end"),
    [
        ("loops_with_messages", "still here", "PipesCancelledError: Dagster has terminated the run"),
        ("loops_without_messages", "no more messages", "the loop has seen the cancellation"),
    ],
)
def test_a_terminated_run_ends_the_function(
    function: FunctionServer, bucket: str, storage_client: storage.Client, mode: str, seen: str, end: str
) -> None:
    command = python_command("-c", TERMINATED, function.url, bucket, mode)
    with run_process(command, ready=f"({seen})", stop_signal=signal.SIGINT, stop_timeout=30) as dagster:
        pass
    assert "[pipes] the run is terminated: telling the function to stop" in dagster.output
    assert dagster.process.returncode != -signal.SIGKILL
    assert [blob.name for blob in storage_client.list_blobs(bucket) if blob.name.endswith("/cancel")]
    function.child.wait_for_output(end)


def test_a_run_terminated_while_it_drains_ends_the_function(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    """The call returns at once, but without `closed` the function may still run."""
    with run_function(FUNCTIONS / "by_hand" / "main.py", emulator_url=emulator.url) as server:
        command = python_command("-c", TERMINATED, server.url, bucket, "writes_on")
        with run_process(command, ready="(still here)", stop_signal=signal.SIGINT, stop_timeout=30) as dagster:
            pass
    assert "[pipes] the run is terminated: telling the function to stop" in dagster.output
    assert [blob.name for blob in storage_client.list_blobs(bucket) if blob.name.endswith("/cancel")]


def test_a_run_terminated_early_keeps_the_function_from_starting(
    emulator: Emulator, function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    """The call is held up on its way, and delivered after the run was terminated."""
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    with FaultProxy(function.url) as link, link.planned(Fault(CALL, Delay(3600))) as plan:
        command = python_command("-c", TERMINATED, link.url, bucket, "ok")
        with run_process(command, ready=r"(\[pipes\] calling)", stop_signal=signal.SIGINT, stop_timeout=30):
            plan.wait_until_triggered(timeout=30)
    names = sorted(blob.name.rpartition("/")[2] for blob in storage_client.list_blobs(bucket))
    assert names == ["1.json", "cancel"]  # it is delivered when the plan ends


def test_a_function_at_its_timeout_says_that_it_ran_out_of_time(function: FunctionServer, bucket: str) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, function_timeout=3)
    result, lines = run(calling_asset(function.url, {"mode": "loops_with_messages"}), client)
    assert not result.success
    assert "still here" in lines
    assert "PipesDeadlineExceededError: The function ran out of time after 3 s" in step_error(result)


def test_a_malformed_timeout_is_refused(function: FunctionServer, bucket: str, quote: Quote) -> None:
    response = call(function.url, bucket, {"mode": "ok"}, headers={"Dagster-Pipes-Timeout": "soon"})
    assert response.status_code == 400
    quote("timeout_header", response.json()["error"]["message"])


class BrokenStore(ObjectStore):
    """Stores only the first chunk, because of an unforeseen error."""

    def create(self, key: str, data: bytes, *, timeout: float) -> None:
        if not key.endswith("/1.json"):
            raise ArithmeticError("unforeseen")
        super().create(key, data, timeout=timeout)


def test_a_writer_does_not_wait_for_a_failed_uploader(bucket: str, storage_client: storage.Client) -> None:
    buffer = ChunkBuffer(flush_interval=0, max_chunk_bytes=100, max_buffer_bytes=200)
    channel = PipesCloudStorageMessageWriterChannel(
        BrokenStore(bucket, storage_client),
        SessionPrefix(bucket, "prefix"),
        buffer,
        CallDeadline(),
        upload_timeout=10,
        heartbeat_interval=10,
    )

    def write_much() -> None:
        for number in range(100):
            channel.write_message(make_message("report_custom_message", {"payload": number}))

    with pytest.raises(PipesMessagesNotStoredError, match=r"could not be stored after chunk 1 .* unforeseen"):
        write_much()
    with pytest.raises(PipesMessagesNotStoredError, match="unforeseen"):
        channel.close()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        # a longer flush interval could be cut off by SIGKILL, which follows SIGTERM
        *(("flush_interval", value, "0 to 5 s") for value in (-1, 5.1)),
        *(
            (name, value, f"more than 0 s and at most 3600 s, got {value}")
            for name in ("heartbeat_interval", "upload_timeout")
            for value in (0, -1, 3601, math.inf, math.nan)
        ),
        *(("max_buffer_bytes", value, f"1 or more, got {value}") for value in (0, -1, math.inf, math.nan)),
        *(("max_chunk_bytes", value, "1 to 67,108,864") for value in (0, -1, 64 * 1024 * 1024 + 1)),
    ],
)
def test_a_writer_refuses_arguments_out_of_range(name: str, value: float, expected: str) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"Expected `{name}` to be {expected}"):
        PipesCloudStorageMessageWriter(**arguments)


def test_a_writer_alone_writes_heartbeats_until_it_is_closed(bucket: str, storage_client: storage.Client) -> None:
    writer = PipesCloudStorageMessageWriter(storage_client, heartbeat_interval=0.1)
    opened = writer.get_opened_payload()
    assert opened["extras"]["heartbeat_interval"] == 0.1
    with writer.open({"bucket": bucket, "key_prefix": "session"}) as channel:
        channel.write_message(make_message("opened", opened))
        wait_until(lambda: channel.chunk_count >= 4)
        channel.write_message(make_message("closed", {}))
    count = channel.chunk_count
    blobs = [storage_client.bucket(bucket).blob(f"session/{number}.json") for number in range(2, count)]
    assert {blob.download_as_bytes() for blob in blobs} == {b"\n"}
    assert summarize(stored_sessions(storage_client, bucket)["session"]) == ["opened", "closed"]
