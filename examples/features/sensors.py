"""A sensor: it starts a run for each new file, and the function gets its name."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset
def arrivals(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
    """What is in the files."""
    event = {"uri": context.run.tags["uri"]}
    return cloud_function.run(context=context, function="orders", event=event).get_materialize_result()


@dg.sensor(target=arrivals)
def each_file(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
    """Look for files that are new since the last time."""
    for number in range(int(context.cursor or 0), 1):
        yield dg.RunRequest(run_key=f"{number}.csv", tags={"uri": f"{number}.csv"})
    context.update_cursor("1")


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[arrivals], sensors=[each_file], resources={"cloud_function": cloud_function})
