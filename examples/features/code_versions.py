"""Code versions: Dagster marks an asset as stale if its code version changes."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset(code_version="2")
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The function finds the version in `pipes.code_version`."""
    return cloud_function.run(context=context, function="describe").get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders], resources={"cloud_function": cloud_function})
