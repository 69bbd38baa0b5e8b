"""Run retries: the daemon starts a failed run again; pass the attempt in `extras`, if the function needs it."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def invoices(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The invoices of a shop."""
    extras = {"attempt": context.run.tags.get("dagster/retry_number", "0")}
    return cloud_function.run(context=context, function="unreliable", extras=extras).get_materialize_result()


invoices_job = dg.define_asset_job("invoices_job", selection=[invoices], tags={"dagster/max_retries": 1})


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[invoices], jobs=[invoices_job], resources={"cloud_function": cloud_function})
