"""Declarative automation: a function computes the asset when its upstream is new."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def clicks(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The clicks on a site."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


@dg.asset(deps=[clicks], automation_condition=dg.AutomationCondition.eager())
def visits(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The visits of a site. They are computed whenever the clicks are."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


clicks_job = dg.define_asset_job("clicks_job", selection=[clicks])
cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[clicks, visits], jobs=[clicks_job], resources={"cloud_function": cloud_function})
