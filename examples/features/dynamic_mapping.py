"""Dynamic mapping: a call for each piece, known only when the job runs."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.op(out=dg.DynamicOut(str))
def list_images() -> Iterator[dg.DynamicOutput[str]]:
    """List the images."""
    for number in range(3):
        yield dg.DynamicOutput(f"{number}.png", mapping_key=f"image_{number}")


@dg.op
def resize(context: dg.OpExecutionContext, uri: str, cloud_function: PipesCloudFunctionClient) -> int:
    """Resize one image."""
    (message,) = cloud_function.run(context=context, function="resize", event={"uri": uri}).get_custom_messages()
    return int(message["bytes"])


@dg.op
def add(sizes: list[int]) -> dg.Output:
    """Add their sizes."""
    return dg.Output(sum(sizes), metadata={"bytes": sum(sizes)})


@dg.job
def resize_each() -> None:
    """Resize all images."""
    add(list_images().map(resize).collect())


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(jobs=[resize_each], resources={"cloud_function": cloud_function})
