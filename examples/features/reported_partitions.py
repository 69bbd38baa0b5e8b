"""A call for a range of partitions, whose function reports each with its own metadata and data version."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

days = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-02-01")


class Missing(dg.Config):
    """The day that the function leaves out."""

    day: str = ""


@dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
def readings(
    context: dg.AssetExecutionContext, config: Missing, cloud_function: PipesCloudFunctionClient
) -> dg.MaterializeResult:
    """The readings of each day."""
    event = {"missing": config.day}
    return cloud_function.run(context=context, function="day_by_day", event=event).get_materialize_result()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[readings], resources={"cloud_function": cloud_function})
