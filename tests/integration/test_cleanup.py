"""The messages of a run are deleted in the background, and the process waits for that when it ends."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

import pytest
from dagster import DagsterInstance, materialize
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes._cleanup import delete_messages
from dagster_gcf_pipes.local import Emulator, FunctionServer
from dagster_gcf_pipes.local._processes import ChildProcess, python_command, run_process
from tests.dagster_runs import calling_asset
from tests.faults.plan import (
    DELETE,
    EVERY,
    Action,
    DelayUntil,
    Exchange,
    Fault,
    Response,
    Stall,
    StatusOfEach,
    storage_forbidden,
)
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient
from tests.waiting import wait_for_cleanup

PROGRAM = """
import os
import sys
from dagster import DagsterInstance, Definitions, define_asset_job, execute_job
from dagster import materialize, multiprocess_executor, reconstructable
from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.dagster_runs import calling_asset

url, bucket, mode, cleanup, executor = os.environ["CASE"].split()
assets = [calling_asset(url, {"mode": mode}, name=name) for name in ("orders", "customers")]
resources = {"cloud_function": PipesCloudFunctionClient(bucket=bucket, cleanup=cleanup)}

def job():
    once = {"forkserver": {"preload_modules": ["tests.dagster_runs"]}}  # the imports take seconds
    both = define_asset_job("both", executor_def=multiprocess_executor.configured({"start_method": once}))
    return Definitions(assets=assets, resources=resources, jobs=[both]).resolve_job_def("both")

if __name__ == "__main__" and executor == "in_process":
    print("ended:", materialize(assets, resources=resources, raise_on_error=False).success, flush=True)
elif __name__ == "__main__":
    with DagsterInstance.get() as instance:
        print("ended:", execute_job(reconstructable(job), instance=instance).success, flush=True)
"""
FORBIDDEN = storage_forbidden("storage.objects.delete")
STAY = "[pipes] the call is done, but its messages stay in the bucket"


@dataclass(frozen=True)
class Bench:
    """What a process of Dagster needs, with a proxy between it and the bucket."""

    function: FunctionServer
    bucket: str
    storage: storage.Client
    emulator: Emulator
    folder: Path

    @contextmanager
    def run(
        self,
        proxy: FaultProxy,
        executor: Literal["in_process", "multiprocess"],
        *,
        mode: str = "ok",
        cleanup: str = "on_success",
    ) -> Iterator[ChildProcess]:
        """Run both assets in a process. The block starts when the run has ended; the process goes on meanwhile."""
        (self.folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        program = self.folder / "program.py"
        program.write_text(PROGRAM)
        env = {
            "STORAGE_EMULATOR_HOST": proxy.url,
            "DAGSTER_HOME": os.fspath(self.folder),
            "PYTHONPATH": os.fspath(Path(__file__).parents[2]),
            "CASE": f"{self.function.url} {self.bucket} {mode} {cleanup} {executor}",
        }
        with run_process(python_command(os.fspath(program)), ready="(ended: .*)", env=env) as process:
            yield process

    def objects(self) -> Sequence[str]:
        """The names of the objects, without their sessions."""
        return sorted(blob.name.rpartition("/")[2] for blob in self.storage.list_blobs(self.bucket))


@pytest.fixture
def bench(
    function: FunctionServer, bucket: str, storage_client: storage.Client, emulator: Emulator, tmp_path: Path
) -> Bench:
    return Bench(function, bucket, storage_client, emulator, tmp_path)


@pytest.mark.parametrize(("mode", "cleanup", "success"), [("ok", "on_success", True), ("raises", "always", False)])
def test_the_run_ends_before_its_messages_are_deleted_and_the_process_after(
    bench: Bench, mode: str, cleanup: str, *, success: bool
) -> None:
    run_has_ended = Event()
    waiting = Fault(DELETE, DelayUntil(run_has_ended))
    with FaultProxy(bench.emulator.url, [waiting]) as proxy:
        with bench.run(proxy, "in_process", mode=mode, cleanup=cleanup) as dagster:
            proxy.plan.wait_until_triggered(30)
            assert bench.objects() == ["1.json", "1.json", "2.json", "2.json"]
            run_has_ended.set()
            assert dagster.process.wait(30) == 0
            assert dagster.ready == f"ended: {success}"
        assert [request.kind for request in proxy.requests].count("delete") == 1
    assert bench.objects() == ["1.json", "1.json"]


def test_the_process_of_a_step_deletes_its_messages_at_its_end(bench: Bench) -> None:
    with FaultProxy(bench.emulator.url) as proxy:
        with bench.run(proxy, "multiprocess") as dagster:
            assert dagster.process.wait(30) == 0
        assert [request.kind for request in proxy.requests].count("delete") == 2
    assert bench.objects() == ["1.json", "1.json"]


def test_a_process_that_is_killed_leaves_the_messages_and_nothing_else(bench: Bench) -> None:
    stalled = Fault(DELETE, Stall(600))
    with FaultProxy(bench.emulator.url, [stalled]) as proxy, bench.run(proxy, "in_process") as dagster:
        proxy.plan.wait_until_triggered(30)
        dagster.process.send_signal(signal.SIGKILL)
        assert dagster.process.wait(30) == -signal.SIGKILL
    assert bench.objects() == ["1.json", "1.json", "2.json", "2.json"]


def test_a_client_that_nobody_tears_down_deletes_its_messages_too(bench: Bench) -> None:
    """For example one that the user's code makes itself."""
    client = PipesCloudFunctionClient(bucket=bench.bucket)

    asset = calling_asset(bench.function.url, {"mode": "ok"})
    materialize([asset], resources={"cloud_function": Wrapped(client)})
    wait_for_cleanup()
    assert bench.objects() == ["1.json"]


class Wrapped:
    """Hides from Dagster that it is a resource with a teardown."""

    def __init__(self, client: PipesCloudFunctionClient) -> None:
        self.run = client.run


# --------------------------------------------------------------------------------------------------------- the warning


def test_the_log_of_the_run_says_that_messages_stay(bench: Bench) -> None:
    forbidden = Fault(DELETE, StatusOfEach(FORBIDDEN), EVERY)
    with FaultProxy(bench.emulator.url, [forbidden]) as proxy, DagsterInstance.ephemeral() as instance:
        client = ProxiedClient(bucket=bench.bucket, api_endpoint=proxy.url)
        asset = calling_asset(bench.function.url, {"mode": "ok"})
        result = materialize([asset], resources={"cloud_function": client}, instance=instance)
        wait_for_cleanup()
        (warning,) = [entry for entry in instance.all_logs(result.run_id) if entry.user_message.startswith(STAY)]
    assert (warning.level, result.success) == (30, True)
    assert "storage.objects.delete" in warning.user_message


class ForbiddenLater(Action):
    """Answers 403 for each object as soon as it may."""

    def __init__(self, may: Event) -> None:
        self._may = may

    def apply(self, exchange: Exchange) -> Response:
        self._may.wait(30)
        return StatusOfEach(FORBIDDEN).apply(exchange)


def test_the_log_of_the_process_says_it_once_that_of_the_run_is_closed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    closed = Event()
    with FaultProxy(bench.emulator.url, [Fault(DELETE, ForbiddenLater(closed), EVERY)]) as proxy:
        client = ProxiedClient(bucket=bench.bucket, api_endpoint=proxy.url)
        with DagsterInstance.ephemeral() as instance:
            asset = calling_asset(bench.function.url, {"mode": "ok"})
            result = materialize([asset], resources={"cloud_function": client}, instance=instance)
        closed.set()
        wait_for_cleanup()
    assert result.success
    assert [record.name for record in caplog.records if record.message.startswith(STAY)] == [delete_messages.__module__]
