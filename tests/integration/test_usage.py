"""What a call uses: a function that takes memory for real, in a process of its own, and what Dagster shows of it."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult, MetadataValue, materialize
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionPrices
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, failure_text, materializations
from tests.metadata_server import run_metadata_server
from tests.sessions import call, stored_sessions
from tests.waiting import in_background

MIB = 1024**2
FIGURES = {"peak_memory_mib", "cpu_seconds", "billable_seconds", "estimated_cost_usd", "instance"}
pytestmark = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no Linux")


@pytest.fixture(scope="module")
def local(emulator: Emulator) -> Iterator[FunctionServer]:
    """The function on a developer's machine."""
    with run_function(FUNCTIONS / "measured" / "main.py", emulator_url=emulator.url, threads=4) as server:
        yield server


@contextmanager
def run_deployed(emulator: Emulator, root: Path) -> Iterator[FunctionServer]:
    """Run the function as Cloud Run would, in a container with 512 MiB and 0.583 vCPU."""
    files = root / "sys/fs/cgroup"
    files.mkdir(parents=True)
    (files / "memory.max").write_text(f"{512 * MIB}\n")
    (files / "memory.current").write_text(f"{30 * MIB}\n")
    (files / "cpu.max").write_text("58300 100000\n")
    facts = {"instance/id": "00f8", "project/project-id": "project", "instance/region": "projects/7/regions/us-west1"}
    with run_metadata_server(facts) as host:
        env = {"K_SERVICE": "orders", "K_REVISION": "orders-00007-xyz", "GCE_METADATA_HOST": host}
        source = FUNCTIONS / "measured" / "main.py"
        with run_function(source, emulator_url=emulator.url, env={**env, "CONTAINER_ROOT": str(root)}) as server:
            yield server


@pytest.fixture
def deployed(emulator: Emulator, tmp_path: Path) -> Iterator[FunctionServer]:
    with run_deployed(emulator, tmp_path) as server:
        yield server


class Caller:
    """Materializes an asset again and again, in one Dagster instance."""

    def __init__(self, client: PipesCloudFunctionClient, instance: DagsterInstance) -> None:
        self._client = client
        self._instance = instance

    def run(self, url: str, mode: str, **event: Any) -> ExecuteInProcessResult:
        return materialize(
            [calling_asset(url, {"mode": mode, **event})],
            resources={"cloud_function": self._client},
            instance=self._instance,
            raise_on_error=False,
        )

    def figures(self, url: str, mode: str, **event: Any) -> dict[str, Any]:
        result = self.run(url, mode, **event)
        (materialization,) = materializations(self._instance, result.run_id)
        return ours(materialization.metadata)


def ours(metadata: Mapping[str, MetadataValue]) -> dict[str, Any]:
    named = {key.removeprefix("cloud_function/"): value.value for key, value in metadata.items()}
    return {key: value for key, value in named.items() if key in FIGURES}


@pytest.fixture
def caller(client: PipesCloudFunctionClient, instance: DagsterInstance) -> Caller:
    return Caller(client, instance)


def test_each_request_on_a_warm_instance_has_its_own_peak(caller: Caller, local: FunctionServer) -> None:
    peaks = [caller.figures(local.url, "uses", mib=mib)["peak_memory_mib"] for mib in (200, 5, 100, 5)]
    assert peaks[0] > 200
    assert [peaks[0] - peak for peak in peaks] == pytest.approx([0, 195, 100, 195], abs=20)


def test_the_cpu_of_a_request_and_of_its_child_processes_counts(caller: Caller, local: FunctionServer) -> None:
    idle, busy, child = (
        caller.figures(local.url, mode, cpu_seconds=seconds)["cpu_seconds"]
        for mode, seconds in (("uses", 0), ("uses", 0.5), ("starts_a_process", 0.5))
    )
    assert idle < 0.4 <= min(busy, child)  # a child process's time has a resolution of 10 ms


def test_a_function_on_this_machine_costs_nothing(caller: Caller, local: FunctionServer) -> None:
    assert caller.figures(local.url, "uses").keys() == {"peak_memory_mib", "cpu_seconds"}


def test_two_requests_at_once_share_their_figures_and_say_so(
    local: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    requests = [
        in_background(lambda: call(local.url, bucket, {"mode": "uses", "mib": 100, "together": True})) for _ in range(2)
    ]
    assert [request.result(60).status_code for request in requests] == [200, 200]
    closed = [messages[-1]["params"]["usage"] for messages in stored_sessions(storage_client, bucket).values()]
    assert len(closed) == 2
    assert all(usage["shared"] and usage["peak_memory_bytes"] > 200 * MIB for usage in closed)


def test_a_deployed_function_shows_its_instance_and_an_estimate_of_the_cost(
    caller: Caller, deployed: FunctionServer
) -> None:
    figures = caller.figures(deployed.url, "uses", mib=50)
    assert figures.keys() == FIGURES
    assert figures["instance"] == "512 MiB, 0.583 vCPU"
    assert figures["billable_seconds"] == math.ceil(figures["billable_seconds"] * 10) / 10 >= 0.1
    a_second = 0.583 * 0.000024 + 0.5 * 0.0000025
    assert figures["estimated_cost_usd"] == pytest.approx(figures["billable_seconds"] * a_second + 0.0000004, abs=1e-9)


def test_the_resource_may_have_other_prices(deployed: FunctionServer, bucket: str, instance: DagsterInstance) -> None:
    prices = PipesCloudFunctionPrices(vcpu_second=0, gib_second=0, million_requests=2)
    figures = Caller(PipesCloudFunctionClient(bucket=bucket, prices=prices), instance).figures(deployed.url, "uses")
    assert figures["estimated_cost_usd"] == 0.000002


def test_the_memory_of_the_whole_container_counts(caller: Caller, deployed: FunctionServer, tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup/memory.current").write_text(f"{480 * MIB}\n")
    assert caller.figures(deployed.url, "uses")["peak_memory_mib"] == 480


def test_a_function_that_raises_shows_what_it_used(caller: Caller, deployed: FunctionServer) -> None:
    failure = caller.run(deployed.url, "raises", mib=100).failure_data_for_node("orders")
    assert failure is not None
    assert failure.user_failure_data is not None
    figures = ours(failure.user_failure_data.metadata)
    assert figures.keys() == FIGURES
    assert figures["peak_memory_mib"] > 100


def test_a_function_that_dies_shows_the_peak_of_its_last_run(
    caller: Caller, deployed: FunctionServer, tmp_path: Path
) -> None:
    (tmp_path / "sys/fs/cgroup/memory.current").write_text(f"{510 * MIB}\n")
    assert caller.figures(deployed.url, "uses")["peak_memory_mib"] == 510
    failure = caller.run(deployed.url, "dies")
    assert "When 'orders' was last materialized, the function used 510 of 512 MiB." in failure_text(failure)
