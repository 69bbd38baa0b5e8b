"""Test functions, and the assets that call them, without a network and without credentials.

For example::

    from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient, invoke

    def test_function():
        assert invoke(main, {"table": "orders"}).succeeded

    def test_asset():
        client = LocalPipesCloudFunctionClient(functions={"orders": main})
        assert dg.materialize([orders], resources={"cloud_function": client}).success

Needs the extra `dagster-gcf-pipes[local]`. The module `dagster_gcf_pipes.testing.pytest_plugin` has fixtures with real
processes. docs/guides/testing.md shows all of it.
"""

from dagster_gcf_pipes.testing._client import LocalPipesCloudFunctionClient
from dagster_gcf_pipes.testing._invoke import invoke
from dagster_gcf_pipes.testing._loading import load_function
from dagster_gcf_pipes.testing._platform import LocalCall
from dagster_gcf_pipes.testing._results import InvocationResult, LogLine, ReportedCheck, ReportedMaterialization

__all__ = [
    "InvocationResult",
    "LocalCall",
    "LocalPipesCloudFunctionClient",
    "LogLine",
    "ReportedCheck",
    "ReportedMaterialization",
    "invoke",
    "load_function",
]
