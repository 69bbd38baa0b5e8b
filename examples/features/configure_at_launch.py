"""A resource that you configure when you launch a run, for example with another bucket."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def ledger(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The books of a shop."""
    return cloud_function.run(context=context, function="orders").get_materialize_result()


ledger_job = dg.define_asset_job("ledger_job", selection=[ledger])
cloud_function = PipesCloudFunctionClient.configure_at_launch(project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[ledger], jobs=[ledger_job], resources={"cloud_function": cloud_function})
