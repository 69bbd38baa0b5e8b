"""The ways to use what a function reported."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset(check_specs=[dg.AssetCheckSpec("not_empty", asset="orders")])
def orders(
    context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient
) -> Iterator[dg.PipesExecutionResult]:
    """`get_results`: all that the function reported, materializations and checks."""
    yield from cloud_function.run(context=context, function="checked_orders").get_results()


@dg.asset(check_specs=[dg.AssetCheckSpec("not_empty", asset="stock")])
def stock(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """`get_materialize_result`: the one materialization, with its checks."""
    return cloud_function.run(context=context, function="checked_orders").get_materialize_result()


@dg.asset_check(asset="summary")
def not_empty(context: dg.AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.AssetCheckResult:
    """`get_asset_check_result`: the one check."""
    return cloud_function.run(context=context, function="quality").get_asset_check_result()


@dg.asset
def summary(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """`get_custom_messages`: any JSON that the function sent."""
    (message,) = cloud_function.run(context=context, function="resize", event={"uri": "a.png"}).get_custom_messages()
    return dg.MaterializeResult(metadata={"bytes": message["bytes"]})


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(
    assets=[orders, stock, summary], asset_checks=[not_empty], resources={"cloud_function": cloud_function}
)
