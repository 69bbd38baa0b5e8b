"""The fixtures of the pytest plugin run real processes, in the tests of a user's project."""

import subprocess
import sys
from pathlib import Path

CONFTEST = 'pytest_plugins = ["dagster_gcf_pipes.testing.pytest_plugin"]'
MAIN = """
from gcf_pipes import pipes_function

@pipes_function
def main(request, pipes):
    pipes.report_asset_materialization(metadata={"rows": request.get_json()["rows"]})
"""
TESTS = """
import json
import os

import dagster as dg
import pytest
from dagster_gcf_pipes import PipesCloudFunctionClient
from google.cloud import storage

@pytest.mark.parametrize("rows", [1, 2])
def test_functions_run_in_processes_of_their_own(local_functions, gcs_emulator, rows):
    functions = local_functions(orders="functions/orders")

    @dg.asset
    def orders(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient):
        return cloud_function.run(context=context, function="orders", event={"rows": rows}).get_materialize_result()

    client = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"))
    result = dg.materialize([orders], resources={"cloud_function": client})
    assert result.asset_materializations_for_node("orders")[0].metadata["rows"].value == rows
    assert os.environ["STORAGE_EMULATOR_HOST"] == gcs_emulator.url
    assert list(storage.Client(project="local").list_blobs(functions.bucket))
    assert json.loads(os.environ["GCF_PIPES_LOCAL_FUNCTIONS"]) == functions.urls

def test_a_function_starts_once(local_functions):
    again = local_functions(orders="functions/orders/main.py").urls
    assert local_functions(orders="functions/orders").urls == again

def test_a_name_has_one_function(local_functions):
    local_functions(orders="functions/orders")
    with pytest.raises(ValueError, match="Fix: Give it another name"):
        local_functions(orders="conftest.py")

def test_a_missing_function_is_an_error(local_functions):
    with pytest.raises(FileNotFoundError, match="Expected a folder with a `main.py`"):
        local_functions(customers="functions")
"""


def test_a_project_tests_its_functions_with_real_processes(tmp_path: Path) -> None:
    (tmp_path / "functions" / "orders").mkdir(parents=True)
    (tmp_path / "functions" / "orders" / "main.py").write_text(MAIN)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_orders.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "--quiet"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert "5 passed" in result.stdout, result.stdout
