"""Test functions, and the assets that call them, without a network and without credentials.

    from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient, invoke

    def test_function():
        assert invoke(main, {"table": "orders"}).succeeded

    def test_asset():
        client = LocalPipesCloudFunctionClient(functions={"orders": main})
        assert dg.materialize([orders], resources={"cloud_function": client}).success

Needs the extra `dagster-gcf-pipes[local]`. Fixtures with real processes are in `dagster_gcf_pipes.testing.pytest_plugin`.
"""

from dagster_gcf_pipes.testing._invoke import invoke
from dagster_gcf_pipes.testing._results import InvocationResult, LogLine, ReportedCheck, ReportedMaterialization

__all__ = [
    "InvocationResult",
    "LogLine",
    "ReportedCheck",
    "ReportedMaterialization",
    "invoke",
]
