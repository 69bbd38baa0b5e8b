"""Uses of a feature that its snippet does not show, and that work too; or that fail, as the page says."""

from collections.abc import Iterator
from types import ModuleType

import pytest
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    ConfigurableResource,
    DagsterInstance,
    Definitions,
    EnvVar,
    MaterializeResult,
    OpExecutionContext,
    PipesExecutionResult,
    ResourceDependency,
    asset,
    graph_asset,
    op,
)

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.features.runs import evaluated, failure_text, materialized, reported, run_assets, step_keys

CLIENT = PipesCloudFunctionClient(bucket=EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")


def module(defs: Definitions) -> ModuleType:
    """Return a module as a user has it."""
    user_code = ModuleType("definitions")
    user_code.__dict__["defs"] = defs
    return user_code


def test_a_blocking_check_of_the_function_that_computes_the_asset(instance: DagsterInstance) -> None:
    @asset(check_specs=[AssetCheckSpec("not_empty", asset="orders", blocking=True)])
    def orders(
        context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient
    ) -> Iterator[PipesExecutionResult]:
        yield from cloud_function.run(context=context, function="checked_orders", event={"rows": 0}).get_results()

    @asset(deps=[orders])
    def revenue() -> None: ...

    definitions = Definitions([orders, revenue], resources={"cloud_function": CLIENT})
    run = run_assets(module(definitions), instance)
    assert run.is_failure
    assert reported(materialized(instance, run)["orders"])["rows"] == 0
    assert not evaluated(instance, run)["orders:not_empty"].passed
    assert step_keys(instance, run, "STEP_START") == ["orders"]


def test_the_function_of_a_graph_backed_asset_reports_its_materialization(instance: DagsterInstance) -> None:
    @op
    def compute(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        return cloud_function.run(context=context, function="orders").get_materialize_result()

    @graph_asset
    def thumbnails() -> MaterializeResult:
        return compute()  # type: ignore[no-any-return]

    run = run_assets(module(Definitions([thumbnails], resources={"cloud_function": CLIENT})), instance)
    assert run.is_success
    assert reported(materialized(instance, run)["thumbnails"])["rows"] == 3


@pytest.mark.parametrize(
    ("value", "error"), [(None, "did not yield or return expected outputs"), ({"bytes": 1}, "yielded a value of type")]
)
def test_an_op_of_a_graph_backed_asset_cannot_return_a_plain_value(
    instance: DagsterInstance, value: object, error: str
) -> None:
    @op
    def compute(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient):  # type: ignore[no-untyped-def]
        cloud_function.run(context=context, function="resize", event={"uri": "a.png"})
        return value

    @graph_asset
    def thumbnails():  # type: ignore[no-untyped-def]
        return compute()

    run = run_assets(module(Definitions([thumbnails], resources={"cloud_function": CLIENT})), instance)
    assert run.is_failure
    assert error in failure_text(instance, run)


def test_a_nested_resource_that_is_configured_at_launch(instance: DagsterInstance) -> None:
    class Warehouse(ConfigurableResource):
        cloud_function: ResourceDependency[PipesCloudFunctionClient]

    @asset
    def orders(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult:
        return warehouse.cloud_function.run(context=context, function="orders").get_materialize_result()

    client = PipesCloudFunctionClient.configure_at_launch()
    resources = {"warehouse": Warehouse(cloud_function=client), "cloud_function": client}
    config = {"bucket": {"env": "PIPES_BUCKET"}, "project": "my-project", "region": "europe-west1"}
    run = run_assets(
        module(Definitions([orders], resources=resources)),
        instance,
        run_config={"resources": {"cloud_function": {"config": config}}},
    )
    assert run.is_success
    assert list(materialized(instance, run)) == ["orders"]
