"""A blocking asset check: if it fails, Dagster does not start the assets downstream."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


class Rows(dg.Config):
    """How many orders there are."""

    rows: int = 3


@dg.asset
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The orders of a shop."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


@dg.asset_check(asset=orders, blocking=True)
def not_empty(
    context: dg.AssetCheckExecutionContext, config: Rows, cloud_function: PipesCloudFunctionClient
) -> dg.AssetCheckResult:
    """There are orders."""
    event = {"rows": config.rows}
    return cloud_function.run(context=context, function="quality", event=event).get_asset_check_result()


@dg.asset(deps=[orders])
def revenue(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """What the orders are worth."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders, revenue], asset_checks=[not_empty], resources={"cloud_function": cloud_function})
