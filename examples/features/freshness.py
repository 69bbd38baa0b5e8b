"""A freshness policy: Dagster warns if the function has not computed the asset for a day."""

from datetime import timedelta

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=1)))
def prices(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The prices of a shop."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


prices_job = dg.define_asset_job("prices_job", selection=[prices])


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[prices], jobs=[prices_job], resources={"cloud_function": cloud_function})
