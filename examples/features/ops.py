"""Ops in a graph: one passes the messages of its function to the next."""

from typing import Any

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.op
def resize_photo(context: dg.OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> dict[str, Any]:
    """Resize a photo."""
    invocation = cloud_function.run(context=context, function="resize", event={"uri": "photo.png"})
    photo: dict[str, Any] = invocation.get_custom_messages()[0]
    return photo


@dg.op
def resize_again(
    context: dg.OpExecutionContext, photo: dict[str, Any], cloud_function: PipesCloudFunctionClient
) -> int:
    """Return the status of the function's response."""
    event = {"uri": f"small-{photo['uri']}"}
    return cloud_function.run(context=context, function="resize", event=event).response.status_code


@dg.job
def nightly() -> None:
    """Resize a photo twice."""
    resize_again(resize_photo())


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(jobs=[nightly], resources={"cloud_function": cloud_function})
