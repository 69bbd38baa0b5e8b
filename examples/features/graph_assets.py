"""A graph-backed asset: several ops compute it, and each may call a function."""

from typing import Any

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.op
def resize_photo(context: dg.OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.Output:
    """Resize a photo. In a graph-backed asset, an op that calls a function returns an `Output`: Pipes asks for it."""
    invocation = cloud_function.run(context=context, function="resize", event={"uri": "photo.png"})
    return dg.Output(invocation.get_custom_messages()[0])


@dg.op
def count_bytes(photo: dict[str, Any]) -> dg.Output:
    """Count what is left."""
    return dg.Output(photo["bytes"], metadata={"bytes": photo["bytes"]})


@dg.graph_asset
def thumbnails() -> Any:
    """Small photos."""
    return count_bytes(resize_photo())


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[thumbnails], resources={"cloud_function": cloud_function})
