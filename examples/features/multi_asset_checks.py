"""Several asset checks in one call."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

specs = [dg.AssetCheckSpec("not_empty", asset=asset) for asset in ("orders", "customers")]


@dg.multi_asset_check(specs=specs, can_subset=True)
def not_empty(
    context: dg.AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient
) -> Iterator[dg.PipesExecutionResult]:
    """The function finds the checked assets in `pipes.asset_keys`."""
    yield from cloud_function.run(context=context, function="quality").get_results()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(
    assets=[dg.AssetSpec("orders"), dg.AssetSpec("customers")],
    asset_checks=[not_empty],
    resources={"cloud_function": cloud_function},
)
