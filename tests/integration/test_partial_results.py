"""A failed step keeps the events that Dagster logs for a successful one, for each partition."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from dagster import (
    AssetExecutionContext,
    AssetMaterialization,
    AssetSpec,
    DagsterInstance,
    DailyPartitionsDefinition,
    Definitions,
    MultiPartitionsDefinition,
    StaticPartitionsDefinition,
    define_asset_job,
    multi_asset,
)

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.dagster_runs import materializations
from tests.functions.reports.main import main as reports

DAYS = DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
REGIONS_BY_DAY = MultiPartitionsDefinition({"day": DAYS, "region": StaticPartitionsDefinition(["eu", "us"])})
ONE_DAY = {"dagster/partition": "2024-01-02"}
THREE_DAYS = {"dagster/asset_partition_range_start": "2024-01-02", "dagster/asset_partition_range_end": "2024-01-04"}
ONE_REGION = {
    "dagster/partition": "2024-01-02|eu",
    "dagster/partition/day": "2024-01-02",
    "dagster/partition/region": "eu",
}
TWO_REGIONS = {
    "dagster/asset_partition_range_start": "2024-01-02|eu",
    "dagster/asset_partition_range_end": "2024-01-02|us",
}
DIMENSIONS = ("dagster/data_version", "dagster/partition/day", "dagster/partition/region")


@pytest.fixture
def client() -> PipesCloudFunctionClient:
    return LocalPipesCloudFunctionClient(functions={"reports": reports})


def logged_by(
    specs: Sequence[AssetSpec], client: PipesCloudFunctionClient, tags: Mapping[str, str], *, fails: bool
) -> list[AssetMaterialization]:
    """Run a step whose function reports all its assets; return the materializations of the run."""
    reported = [
        {"asset_key": spec.key.to_user_string(), "metadata": {"rows": 3}, "data_version": "v1"} for spec in specs
    ]

    @multi_asset(specs=specs, name="tables")
    def tables(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        event = {"materializations": reported, "fails": fails}
        yield from cloud_function.run(context=context, function="reports", event=event).get_results()

    job = define_asset_job("job", selection=[tables])
    definitions = Definitions(assets=[tables], jobs=[job], resources={"cloud_function": client})
    with DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("job").execute_in_process(
            instance=instance, tags=dict(tags), raise_on_error=False
        )
        assert result.success is not fails
        return materializations(instance, result.run_id)


def essence(materialization: AssetMaterialization) -> tuple[str, str | None, dict[str, str], Any]:
    tags = {name: value for name, value in (materialization.tags or {}).items() if name in DIMENSIONS}
    rows = materialization.metadata["rows"].value
    return materialization.asset_key.to_user_string(), materialization.partition, tags, rows


@pytest.mark.parametrize(
    ("specs", "tags", "partitions"),
    [
        pytest.param([AssetSpec("orders")], {}, [None], id="no partitions"),
        pytest.param([AssetSpec("orders", partitions_def=DAYS)], ONE_DAY, ["2024-01-02"], id="one partition"),
        pytest.param(
            [AssetSpec("orders", partitions_def=DAYS)],
            THREE_DAYS,
            ["2024-01-02", "2024-01-03", "2024-01-04"],
            id="a range of partitions",
        ),
        pytest.param(
            [AssetSpec("orders", partitions_def=REGIONS_BY_DAY)], ONE_REGION, ["2024-01-02|eu"], id="two dimensions"
        ),
        pytest.param(
            [AssetSpec("orders", partitions_def=REGIONS_BY_DAY)],
            TWO_REGIONS,
            ["2024-01-02|eu", "2024-01-02|us"],
            id="a range in two dimensions",
        ),
        pytest.param(
            [AssetSpec("orders", partitions_def=DAYS), AssetSpec("schema")],
            ONE_DAY,
            ["2024-01-02", None],
            id="an asset without partitions beside one with them",
        ),
        pytest.param(
            [AssetSpec("orders", partitions_def=DAYS), AssetSpec("schema")],
            THREE_DAYS,
            ["2024-01-02", "2024-01-03", "2024-01-04", None],
            id="an asset without partitions beside a range",
        ),
    ],
)
def test_a_failed_step_logs_what_a_successful_one_does(
    client: PipesCloudFunctionClient,
    specs: Sequence[AssetSpec],
    tags: Mapping[str, str],
    partitions: Sequence[str | None],
) -> None:
    kept = logged_by(specs, client, tags, fails=True)
    assert [materialization.partition for materialization in kept] == partitions
    succeeded = logged_by(specs, client, tags, fails=False)
    assert sorted(map(essence, kept), key=str) == sorted(map(essence, succeeded), key=str)


@pytest.mark.parametrize("fails", [False, True])
def test_a_key_that_the_function_reported_stays_its_own(client: PipesCloudFunctionClient, *, fails: bool) -> None:
    theirs = {"cloud_function/duration_seconds": 7, "duration_seconds": 8, "messages": "theirs", "trace": "theirs"}

    @multi_asset(specs=[AssetSpec("orders")])
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        event = {"materializations": [{"metadata": theirs}], "fails": fails}
        yield from cloud_function.run(context=context, function="reports", event=event).get_results()

    definitions = Definitions(assets=[orders], resources={"cloud_function": client})
    with DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        (materialization,) = materializations(instance, result.run_id)
    shown = {key: value.value for key, value in materialization.metadata.items()}
    assert {key: shown[key] for key in theirs} == theirs
    assert all(key.startswith("cloud_function/") for key in shown.keys() - theirs.keys())


@pytest.mark.parametrize(("cleanup", "shown"), [("never", True), ("on_success", True), ("always", False)])
def test_a_failure_links_to_messages_that_are_kept(cleanup: str, *, shown: bool) -> None:
    @multi_asset(specs=[AssetSpec("orders")])
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        yield from cloud_function.run(context=context, function="reports", event={"fails": True}).get_results()

    client = LocalPipesCloudFunctionClient(functions={"reports": reports}, cleanup=cleanup)
    definitions = Definitions(assets=[orders], resources={"cloud_function": client})
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(raise_on_error=False)
    failure = result.failure_data_for_node("orders")
    assert failure
    assert failure.user_failure_data
    assert ("cloud_function/messages_uri" in failure.user_failure_data.metadata) is shown
