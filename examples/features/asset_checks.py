"""An asset check: a call of its own, after the asset."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The orders of a shop."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


@dg.asset_check(asset=orders)
def not_empty(context: dg.AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.AssetCheckResult:
    """There are orders."""
    return cloud_function.run(context=context, function="quality").get_asset_check_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders], asset_checks=[not_empty], resources={"cloud_function": cloud_function})
