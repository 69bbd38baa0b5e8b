"""Backfills: one run for each partition, or one run and one call for a range."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

days = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-02-01")


@dg.asset(partitions_def=days)
def parcels(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """A run and a call for each day."""
    return cloud_function.run(context=context, function="partitioned").get_materialize_result()


@dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
def routes(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """A run and a call for all days without a gap between them. The function knows the first and the last."""
    return cloud_function.run(context=context, function="partitioned").get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[parcels, routes], resources={"cloud_function": cloud_function})
