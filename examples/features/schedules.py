"""A schedule: it calls the function each morning, and tells it the day."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def daily_report(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """The report of a day."""
    event = {"day": context.run.tags["day"]}
    return cloud_function.run(context=context, function="orders", event=event).get_materialize_result()


@dg.schedule(cron_schedule="0 6 * * *", target=daily_report)
def each_morning(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Compute the report of the day."""
    return dg.RunRequest(tags={"day": f"{context.scheduled_execution_time:%Y-%m-%d}"})


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[daily_report], schedules=[each_morning], resources={"cloud_function": cloud_function})
