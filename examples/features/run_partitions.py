"""A call for each partition of a run: each has its own metadata, its own data version, and its own failure."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

days = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-02-01")
one_run = dg.BackfillPolicy.single_run()
two_days_each = dg.BackfillPolicy.multi_run(max_partitions_per_run=2)


class Missing(dg.Config):
    """The day of which there is no data yet."""

    day: str = ""


@dg.asset(partitions_def=days, backfill_policy=one_run)
def deliveries(
    context: dg.AssetExecutionContext, config: Missing, cloud_function: PipesCloudFunctionClient
) -> dg.MaterializeResult:
    """The deliveries of each day."""
    event = {"missing": config.day}
    return cloud_function.run_partitions(context=context, function="partitioned", event=event).get_materialize_result()


@dg.asset(partitions_def=days, backfill_policy=one_run, deps=[deliveries])
def tours(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """Runs in the same run, after all deliveries."""
    return cloud_function.run_partitions(context=context, function="partitioned").get_materialize_result()


@dg.asset(partitions_def=days, backfill_policy=two_days_each)
def pickups(
    context: dg.AssetExecutionContext, config: Missing, cloud_function: PipesCloudFunctionClient
) -> dg.MaterializeResult:
    """The pickups of each day, with a run for two days."""
    event = {"missing": config.day}
    return cloud_function.run_partitions(context=context, function="partitioned", event=event).get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[deliveries, pickups, tours], resources={"cloud_function": cloud_function})
