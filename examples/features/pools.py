"""A pool: it limits how many calls run at once, over all runs."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


def table(name: str) -> dg.AssetsDefinition:
    """Return an asset that a function computes. `dagster instance concurrency set warehouse 1` sets the limit."""

    @dg.asset(name=name, pool="warehouse")
    def table(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
        return cloud_function.run(context=context, function="orders").get_materialize_result()

    return table


tables = [table(name) for name in ("debtors", "creditors")]
jobs = [dg.define_asset_job(f"{name}_job", selection=name) for name in ("debtors", "creditors")]
cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=tables, jobs=jobs, resources={"cloud_function": cloud_function})
