"""Run tags: pass those that the function needs in `extras`."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The function finds the tags in `pipes.extras`."""
    extras = {"team": context.run.tags["team"]}
    return cloud_function.run(context=context, function="describe", extras=extras).get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders], resources={"cloud_function": cloud_function})
