"""With any chunk, a run ends in success or with one typed error, and keeps the messages before it."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Final

import pytest
from dagster import AssetExecutionContext, AssetKey, DagsterInstance, MaterializeResult, asset, materialize
from dagster_pipes import decode_param
from gcf_pipes._shared.protocol import CHUNK_COUNT_HEADER, MAX_EXCEPTION_CHAIN
from google.cloud import storage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionError
from dagster_gcf_pipes.local import EMBEDDED, run_emulator
from tests.dagster_runs import calling_asset, logged, materializations, step_error
from tests.fuzz.chunks import chain, exception, hostile_lines, line
from tests.waiting import wait_until

TIME_LIMIT: Final = 20.0
"""Seconds in which any run has ended."""


class ChunkWriter(ThreadingHTTPServer):
    """A function that stores the given chunks as they are, and answers 200.

    Attributes:
        chunks: The chunks of the next call.
    """

    daemon_threads = True

    def __init__(self, client: storage.Client) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.client = client
        self.chunks: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ChunkWriter

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        session = decode_param(event["DAGSTER_PIPES_MESSAGES"])
        bucket = self.server.client.bucket(session["bucket"])
        for number, chunk in enumerate(self.server.chunks, start=1):
            bucket.blob(f"{session['key_prefix']}/{number}.json").upload_from_string(chunk)
        self.send_response(200)
        self.send_header(CHUNK_COUNT_HEADER, str(len(self.server.chunks)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with run_emulator(EMBEDDED) as emulator, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
        name = f"bucket-{uuid.uuid4().hex}"
        with closing(storage.Client(project="local")) as client:
            client.create_bucket(name)
        yield name


@pytest.fixture(scope="module")
def writer(bucket: str) -> Iterator[ChunkWriter]:
    with closing(storage.Client(project="local")) as client, ChunkWriter(client) as writer:
        serving = threading.Thread(target=writer.serve_forever)
        serving.start()
        yield writer
        writer.shutdown()
        serving.join()


def test_any_chunk_ends_in_success_or_one_typed_error(writer: ChunkWriter, bucket: str) -> None:
    """One step makes all calls, which is faster than a step for each."""
    numbers = count()

    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(lines=st.lists(hostile_lines, min_size=1, max_size=3), closed=st.booleans(), chunked=st.booleans())
        def runs(lines: list[bytes], closed: bool, chunked: bool) -> None:
            before = [line("opened", {"extras": {}}), line("log", {"message": f"run {next(numbers)}", "level": "INFO"})]
            after = [line("closed", None)] if closed else []
            writer.chunks = [b"\n".join(before), b"\n".join([*lines, *after])]
            if not chunked:
                writer.chunks = [b"\n".join(writer.chunks)]
            started = time.monotonic()
            with suppress(PipesCloudFunctionError):
                cloud_function.run(context=context, function_url=writer.url)
            assert time.monotonic() - started < TIME_LIMIT
            assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pipes ")] == []

        runs()
        wait_until(lambda: not [thread for thread in threading.enumerate() if "pipes" in thread.name])
        return MaterializeResult()

    with DagsterInstance.ephemeral() as instance:
        client = PipesCloudFunctionClient(bucket=bucket, drain_timeout=1)
        result = materialize([orders], resources={"cloud_function": client}, instance=instance)
        lines = logged(instance, result.run_id)
    assert [text for text in lines if text.startswith("run ")] == [f"run {number}" for number in range(next(numbers))]


def failed_step(writer: ChunkWriter, bucket: str, *lines: bytes) -> tuple[str, list[AssetKey]]:
    """Return the error of a step whose function wrote these lines, and the assets that it kept as materialized."""
    writer.chunks = [b"\n".join([line("opened", {"extras": {}}), *lines])]
    client = PipesCloudFunctionClient(bucket=bucket)
    with DagsterInstance.ephemeral() as instance:
        asset = calling_asset(writer.url, {})
        result = materialize([asset], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        return step_error(result), [each.asset_key for each in materializations(instance, result.run_id)]


@pytest.mark.parametrize("link", ["cause", "context"])
def test_a_long_chain_of_exceptions_fails_the_step(writer: ChunkWriter, bucket: str, link: str) -> None:
    error, _ = failed_step(writer, bucket, line("closed", {"exception": chain(2 * MAX_EXCEPTION_CHAIN, link)}))
    assert "PipesCloudFunctionRaisedError: The function raised ValueError: boom" in error


def test_a_failed_step_keeps_only_its_own_materializations(writer: ChunkWriter, bucket: str) -> None:
    reports = [
        line("report_asset_materialization", {"asset_key": key, "metadata": None, "data_version": "v1"})
        for key in ("payroll", "orders")
    ]
    error, kept = failed_step(writer, bucket, *reports, line("closed", {"exception": exception()}))
    assert "The function raised ValueError: boom" in error
    assert kept == [AssetKey("orders")]
