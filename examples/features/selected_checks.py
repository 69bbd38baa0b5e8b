"""Checks that you can select without their assets: pass what is selected in `extras`."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

names = ["customers", "items"]
specs = [dg.AssetSpec(name, skippable=True) for name in names]
check_specs = [dg.AssetCheckSpec("not_empty", asset=name) for name in names]


@dg.multi_asset(specs=specs, check_specs=check_specs, can_subset=True)
def shop(
    context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient
) -> Iterator[dg.PipesExecutionResult]:
    """The function reports what is in `pipes.extras`, and no more. Pipes itself does not tell it the checks."""
    extras = {
        "assets": [key.to_user_string() for key in context.selected_asset_keys],
        "checks": [check.asset_key.to_user_string() for check in context.selected_asset_check_keys],
    }
    invocation = cloud_function.run(context=context, function="selected", extras=extras)
    yield from invocation.get_results(implicit_materializations=False)


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[shop], resources={"cloud_function": cloud_function})
