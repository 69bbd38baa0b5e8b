"""Modules that an import must not load, each in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import gcf_pipes
import pytest

ROOT = Path(__file__).parents[2]

GOOGLE = ["google.cloud.storage", "google.auth", "google.api_core"]
PRINT_MODULES = "\nimport sys; print(*sys.modules)"


@pytest.fixture
def loaded(tmp_path: Path, request: pytest.FixtureRequest) -> set[str]:
    """The modules that are loaded after the test's statement, run away from the source tree."""
    command = [sys.executable, "-c", request.param + PRINT_MODULES]
    return set(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("loaded", ["import google.cloud.storage, flask, dagster, dagster_gcf_pipes"], indirect=True)
def test_check_sees_what_is_loaded(loaded: set[str]) -> None:
    assert {*GOOGLE, "flask", "dagster", "dagster_gcf_pipes"} <= loaded


@pytest.mark.parametrize(
    "loaded",
    [
        "from dagster_gcf_pipes import *",
        "import dagster_gcf_pipes._functions_api, dagster_gcf_pipes._crash_logs",
        "import dagster_gcf_pipes.local, dagster_gcf_pipes.testing",
    ],
    indirect=True,
)
def test_dagster_side_loads_no_google_library(loaded: set[str]) -> None:
    assert loaded.isdisjoint([*GOOGLE, "flask"])


@pytest.mark.parametrize(
    "loaded",
    ["from dagster_gcf_pipes import PipesCloudFunctionClient as Client; Client(bucket='my-bucket')"],
    indirect=True,
)
def test_making_a_client_loads_no_google_library(loaded: set[str]) -> None:
    assert loaded.isdisjoint([*GOOGLE, "flask"])


@pytest.mark.parametrize("loaded", ["import dagster_gcf_pipes._cli, dagster_gcf_pipes.local"], indirect=True)
def test_command_line_loads_no_dagster(loaded: set[str]) -> None:
    assert loaded.isdisjoint([*GOOGLE, "flask", "dagster", "requests"])


@pytest.mark.parametrize("loaded", ["import gcf_pipes"], indirect=True)
def test_function_side_loads_neither_dagster_nor_a_google_library(loaded: set[str]) -> None:
    assert loaded.isdisjoint([*GOOGLE, "flask", "dagster", "dagster_gcf_pipes"])


def test_import_linter_knows_all_private_modules_of_the_function_side() -> None:
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [each for each in settings["contracts"] if "dagster_gcf_pipes" in each.get("source_modules", ())]
    modules = {f"gcf_pipes.{path.stem}" for path in Path(gcf_pipes.__file__).parent.glob("_[a-z]*.py")}
    assert set(contract["forbidden_modules"]) == modules
