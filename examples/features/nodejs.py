"""A function in Node.js: the asset calls it as it calls one in Python."""

from collections.abc import Iterator

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


@dg.asset(check_specs=[dg.AssetCheckSpec("not_empty", asset="node_orders")])
def node_orders(
    context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient
) -> Iterator[dg.PipesExecutionResult]:
    """Its function is in functions_nodejs/index.js."""
    yield from cloud_function.run(context=context, function="node-orders", event={"rows": 3}).get_results()


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[node_orders], resources={"cloud_function": cloud_function})
