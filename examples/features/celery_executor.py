"""The Celery executor: each step runs on one of your Celery workers."""

import dagster as dg
from dagster_celery import celery_executor

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The orders of a shop."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


@dg.asset(deps=[orders])
def revenue(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """What the orders are worth."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


on_celery = dg.define_asset_job("on_celery", executor_def=celery_executor)
cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[orders, revenue], jobs=[on_celery], resources={"cloud_function": cloud_function})
