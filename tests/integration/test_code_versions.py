"""The revision that ran is the code version of what it materialized, and Dagster shows what an older one computed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetsDefinition,
    AssetSelection,
    AssetSpec,
    AutomationCondition,
    DagsterInstance,
    DailyPartitionsDefinition,
    Definitions,
    asset,
    evaluate_automation_conditions,
    materialize,
    multi_asset,
)
from dagster_graphql.test.utils import define_out_of_process_context, execute_dagster_graphql

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, materializations
from tests.metadata_server import run_metadata_server

CODE_VERSION, DATA_VERSION = "dagster/code_version", "dagster/data_version"
OLD, NEW = "orders-00007-xyz", "orders-00008-abc"

DEFINITIONS = """
import os
from dagster import Definitions, asset

@asset
def stations(): ...

@asset(deps=[stations], code_version=os.environ["ORDERS_REVISION"])
def orders(): ...

def defs():
    return Definitions(assets=[stations, orders])
"""
QUERY = """{
  assetNodes(assetKeys: [{path: ["orders"]}]) {
    staleStatus
    staleCauses { category reason }
    opVersion
    assetMaterializations(limit: 1) { tags { key value } }
  }
}"""


@contextmanager
def run_revision(emulator: Emulator, revision: str) -> Iterator[FunctionServer]:
    """Run a revision of the function, as Cloud Run would."""
    with run_metadata_server({}) as host:
        env = {"K_SERVICE": "orders", "K_REVISION": revision, "GCE_METADATA_HOST": host}
        with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=emulator.url, env=env) as server:
            yield server


@pytest.fixture(scope="module")
def revisions(emulator: Emulator) -> Iterator[Mapping[str, FunctionServer]]:
    with run_revision(emulator, OLD) as old, run_revision(emulator, NEW) as new:
        yield {OLD: old, NEW: new}


class Runner:
    """Materializes assets in one Dagster instance."""

    def __init__(self, client: PipesCloudFunctionClient, instance: DagsterInstance) -> None:
        self._client = client
        self.instance = instance

    def run(self, *assets: AssetsDefinition, **arguments: Any) -> list[AssetMaterialization]:
        result = materialize(
            assets,
            resources={"cloud_function": self._client},
            instance=self.instance,
            raise_on_error=False,
            **arguments,
        )
        return materializations(self.instance, result.run_id)


@pytest.fixture
def runner(client: PipesCloudFunctionClient, instance: DagsterInstance) -> Runner:
    return Runner(client, instance)


def tag(materialization: AssetMaterialization) -> str | None:
    return (materialization.tags or {}).get(CODE_VERSION)


def test_the_revision_is_the_code_version_where_the_asset_has_none(
    runner: Runner, revisions: Mapping[str, FunctionServer]
) -> None:
    for revision, server in revisions.items():
        checks = [AssetCheckSpec(name, asset="orders") for name in ("not_empty", "fresh")]
        (orders,) = runner.run(calling_asset(server.url, {"mode": "materialize"}, check_specs=checks))
        assert tag(orders) == revision
        assert (orders.tags or {})[DATA_VERSION] == "v1"


def test_an_asset_keeps_its_own_code_version(runner: Runner, revisions: Mapping[str, FunctionServer]) -> None:
    for version in ("2", "orders-2", "weather-00007-xyz"):
        (orders,) = runner.run(calling_asset(revisions[NEW].url, {"mode": "ok"}, code_version=version))
        assert tag(orders) == version


def test_the_revision_that_ran_replaces_the_one_that_the_definitions_know(
    runner: Runner, revisions: Mapping[str, FunctionServer]
) -> None:
    (orders,) = runner.run(calling_asset(revisions[NEW].url, {"mode": "ok"}, code_version=OLD))
    assert tag(orders) == NEW


def test_each_asset_and_each_partition_has_it(runner: Runner, revisions: Mapping[str, FunctionServer]) -> None:
    daily = DailyPartitionsDefinition("2026-01-01")
    url = revisions[OLD].url

    @multi_asset(specs=[AssetSpec("a", partitions_def=daily), AssetSpec("b", partitions_def=daily, code_version="2")])
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        yield from cloud_function.run(
            context=context, function_url=url, event={"mode": "materialize_all"}
        ).get_results()

    days = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-02"}
    found = runner.run(orders, tags=days)
    assert sorted((str(each.partition), each.asset_key.path[0], tag(each)) for each in found) == [
        ("2026-01-01", "a", OLD),
        ("2026-01-01", "b", "2"),
        ("2026-01-02", "a", OLD),
        ("2026-01-02", "b", "2"),
    ]


def test_a_function_on_this_machine_has_no_revision(runner: Runner, function: FunctionServer) -> None:
    (orders,) = runner.run(calling_asset(function.url, {"mode": "ok"}))
    (event,) = runner.instance.fetch_materializations(AssetKey("orders"), limit=1).records
    assert tag(orders) == event.run_id  # Dagster's own


@pytest.mark.parametrize("revision", ["Orders", "orders\u0001", "-orders", "o" * 64, "o rders"])
def test_what_cannot_be_a_revision_is_no_code_version(runner: Runner, emulator: Emulator, revision: str) -> None:
    with run_revision(emulator, revision) as server:
        (orders,) = runner.run(calling_asset(server.url, {"mode": "ok"}))
    assert tag(orders) != revision


def test_partial_results_have_no_code_version(runner: Runner, revisions: Mapping[str, FunctionServer]) -> None:
    """Dagster would take their inputs as unknown, and show a new dependency."""
    (orders,) = runner.run(calling_asset(revisions[OLD].url, {"mode": "materialize_and_raise"}))
    assert tag(orders) is None


def test_the_ui_shows_what_an_older_revision_computed(
    client: PipesCloudFunctionClient,
    revisions: Mapping[str, FunctionServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)

    def node(instance: DagsterInstance, deployed: str) -> dict[str, Any]:
        monkeypatch.setenv("ORDERS_REVISION", deployed)
        with define_out_of_process_context(str(tmp_path / "definitions.py"), "defs", instance) as context:
            (found,) = execute_dagster_graphql(context, QUERY).data["assetNodes"]
        tags = {each["key"]: each["value"] for each in found.pop("assetMaterializations")[0]["tags"]}
        assert found.pop("opVersion") == deployed
        return {**found, "computed by": tags[CODE_VERSION]}

    @asset
    def stations() -> None: ...

    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        runner = Runner(client, instance)
        computes = {
            revision: calling_asset(server.url, {"mode": "ok"}, deps=[stations], code_version=OLD)
            for revision, server in revisions.items()
        }
        runner.run(stations, computes[OLD])
        fresh = {"staleStatus": "FRESH", "staleCauses": []}
        assert node(instance, OLD) == {**fresh, "computed by": OLD}
        assert node(instance, NEW) == {
            "staleStatus": "STALE",
            "staleCauses": [{"category": "CODE", "reason": "has a new code version"}],
            "computed by": OLD,
        }
        runner.run(computes[NEW], selection=["orders"])
        assert node(instance, NEW) == {**fresh, "computed by": NEW}


def test_a_condition_on_the_code_version_requests_one_run_for_each_deployment(runner: Runner) -> None:
    condition = AutomationCondition.code_version_changed()

    def tick(revision: str | None, cursor: Any = None) -> Any:
        @asset(code_version=revision, automation_condition=condition)
        def orders() -> None: ...

        @asset(automation_condition=condition)
        def without() -> None: ...

        return evaluate_automation_conditions(
            Definitions(assets=[orders, without]),
            instance=runner.instance,
            asset_selection=AssetSelection.all(),
            cursor=cursor,
        )

    requested, cursor = [], None
    for revision in (OLD, OLD, NEW, NEW):
        result = tick(revision, cursor)
        requested.append((result.get_num_requested(AssetKey("orders")), result.get_num_requested(AssetKey("without"))))
        cursor = result.cursor
    assert requested == [(0, 0), (0, 0), (1, 0), (0, 0)]
