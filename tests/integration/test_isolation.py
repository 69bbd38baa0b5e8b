"""Sessions do not mix: one after another, at the same time, in one process of either side."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from dagster import (
    DagsterInstance,
    Definitions,
    InitLoggerContext,
    define_asset_job,
    execute_job,
    logger,
    reconstructable,
)
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, logged, run
from tests.integration import multiprocess_job
from tests.sessions import call

SESSIONS = 30


def test_two_assets_of_one_in_process_job_share_one_resource(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    """The stock reader keeps its chunk counter on the object, and loses all of the second asset's messages."""
    assets = [
        calling_asset(function.url, {"mode": "lines", "count": 50, "tag": name}, name=name) for name in ("one", "two")
    ]
    result, lines = run(assets, client)
    assert result.success
    for name in ("one", "two"):
        assert [line for line in lines if line.startswith(name)] == [f"{name} {n}" for n in range(50)]


def test_concurrent_runs_do_not_mix(emulator: Emulator, client: PipesCloudFunctionClient) -> None:
    together = Barrier(8)

    def run_one(tag: str, url: str) -> list[str]:
        together.wait()
        result, lines = run(calling_asset(url, {"mode": "lines", "count": 300, "tag": tag}), client)
        assert result.success
        return lines

    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=emulator.url, threads=4) as server:
        tags = [f"run-{number}" for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            lines_of_runs = list(pool.map(run_one, tags, [server.url] * 8))
    for tag, lines in zip(tags, lines_of_runs, strict=True):
        assert lines == [f"{tag} {number}" for number in range(300)]


def test_many_sessions_of_one_warm_function_leave_nothing_behind(
    function: FunctionServer, client: PipesCloudFunctionClient, storage_client: storage.Client, bucket: str
) -> None:
    for number in range(SESSIONS):
        result, lines = run(calling_asset(function.url, {"mode": "lines", "count": 2, "tag": str(number)}), client)
        assert result.success
        assert lines == [f"{number} 0", f"{number} 1"]
    names = [blob.name.rpartition("/")[2] for blob in storage_client.list_blobs(bucket)]
    assert names == ["1.json"] * SESSIONS  # the claims, which outlive their runs
    threads = call(function.url, bucket, {"mode": "threads"}).json()["threads"]
    assert len([name for name in threads if name.startswith("pipes ")]) == 2  # those of this very request


def test_messages_arrive_while_the_function_runs(
    function: FunctionServer, client: PipesCloudFunctionClient, storage_client: storage.Client, bucket: str
) -> None:
    """The function returns only when a Dagster logger, having seen its line, has opened the gate."""

    class GateOpener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting at the gate" in record.getMessage():
                storage_client.bucket(bucket).blob("gate").upload_from_string("open")

    @logger
    def gate_logger(_: InitLoggerContext) -> logging.Logger:
        gate = logging.Logger("gate", level=logging.DEBUG)
        gate.addHandler(GateOpener())
        return gate

    definitions = Definitions(
        assets=[calling_asset(function.url, {"mode": "gated", "bucket": bucket})],
        resources={"cloud_function": client},
        jobs=[define_asset_job("gated")],
        loggers={"gate": gate_logger},
    )
    with DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("gated").execute_in_process(
            instance=instance, run_config={"loggers": {"gate": {}}}
        )
    assert result.success


def test_the_multiprocess_executor_runs_steps_at_once(
    function: FunctionServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_FUNCTION_URL", function.url)
    monkeypatch.setenv("TEST_BUCKET", bucket)
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = execute_job(reconstructable(multiprocess_job.define_job), instance=instance)
        lines = logged(instance, result.run_id)
    assert result.success
    for name in multiprocess_job.NAMES:
        assert [line for line in lines if line.startswith(name)] == [f"{name} {n}" for n in range(20)]


def test_a_step_of_the_multiprocess_executor_can_pass_the_response_on(
    function: FunctionServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_FUNCTION_URL", function.url)
    monkeypatch.setenv("TEST_BUCKET", bucket)
    with (
        DagsterInstance.local_temp(str(tmp_path)) as instance,
        execute_job(reconstructable(multiprocess_job.define_passing_job), instance=instance) as result,
    ):
        assert result.success
        read = result.output_for_node("read")
    assert (read["status"], read["json"]) == (200, {"ok": True})
    assert read["seconds"] > 0
