"""Direct invocation: a test calls the asset itself, and the function runs in the test's process."""

import dagster as dg

from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from examples.features.assets import orders
from examples.features.functions import main


def test_orders() -> None:
    """Run it with pytest."""
    client = LocalPipesCloudFunctionClient(functions={"orders": main.orders})
    result = orders(dg.build_asset_context(), cloud_function=client)
    assert isinstance(result, dg.MaterializeResult)
    assert result.data_version == dg.DataVersion("3 rows")
