"""A multi-asset: one call computes several assets, or those of them that you select."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

specs = [dg.AssetSpec(name, skippable=True) for name in ("customers", "items", "payments")]


@dg.multi_asset(specs=specs, can_subset=True)
def shop(
    context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient
) -> Iterator[dg.PipesExecutionResult]:
    """The function finds the selected assets in `pipes.asset_keys`."""
    invocation = cloud_function.run(context=context, function="orders")
    yield from invocation.get_results(implicit_materializations=False)


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[shop], resources={"cloud_function": cloud_function})
