"""The executors of one machine: all steps in the run's process, or a process for each step."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The orders of a shop."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


@dg.asset(deps=[orders])
def revenue(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """What the orders are worth."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


in_process = dg.define_asset_job("in_process", executor_def=dg.in_process_executor)
four_processes = dg.define_asset_job(
    "four_processes", executor_def=dg.multiprocess_executor.configured({"max_concurrent": 4})
)
cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(
    assets=[orders, revenue], jobs=[in_process, four_processes], resources={"cloud_function": cloud_function}
)
