"""A retry policy: Dagster runs the step again; the function sees the attempt in `pipes.retry_number`."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The orders of a shop."""
    return cloud_function.run(context=context, function="unreliable").get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders], resources={"cloud_function": cloud_function})
