"""Data versions and provenance: a function learns which versions its asset was last computed from."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


class Rows(dg.Config):
    """How many orders there are."""

    rows: int = 3


@dg.asset
def orders(
    context: dg.AssetExecutionContext, config: Rows, cloud_function: PipesCloudFunctionClient
) -> dg.MaterializeResult:
    """The function reports its own `data_version`."""
    event = {"rows": config.rows}
    return cloud_function.run(context=context, function="orders", event=event).get_materialize_result()


@dg.asset(deps=[orders])
def revenue(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The function finds the versions of the run before this one in `pipes.provenance`."""
    return cloud_function.run(context=context, function="describe").get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders, revenue], resources={"cloud_function": cloud_function})
