"""Assets that functions compute, one downstream of the other."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The orders of a shop."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


@dg.asset(deps=[orders])
def revenue(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """What the orders are worth."""
    return cloud_function.run(context=context, function="orders", event={"rows": 1}).get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders, revenue], resources={"cloud_function": cloud_function})
