"""Assets that others compute: a function looks them up, and Dagster shows their data versions."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.multi_observable_source_asset(specs=[dg.AssetSpec("files")])
def files(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Iterator[dg.ObserveResult]:
    """The function sends what it found as a custom message: Pipes has no observations."""
    (message,) = cloud_function.run(context=context, function="resize", event={"uri": "a.png"}).get_custom_messages()
    yield dg.ObserveResult(asset_key="files", data_version=dg.DataVersion(f"{message['bytes']} bytes"))


files_job = dg.define_asset_job("files_job", selection=[files])
cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[files], jobs=[files_job], resources={"cloud_function": cloud_function})
