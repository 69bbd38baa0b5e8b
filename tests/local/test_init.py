"""`dagster-gcf-pipes init` in an empty folder, and in a project. What it writes runs as it stands."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dagster_gcf_pipes._scaffold import COMMAND
from dagster_gcf_pipes.local._processes import python_command
from tests.marked import nothing_left_running

MATERIALIZE = """
import dagster as dg
from definitions import defs

result = defs.resolve_implicit_global_asset_job_def().execute_in_process()
print("rows:", [event.materialization.metadata["rows"].value for event in result.get_asset_materialization_events()])
"""


@pytest.fixture
def environment() -> Iterator[Mapping[str, str]]:
    with nothing_left_running() as environment:
        yield environment


def init(folder: Path, name: str) -> "subprocess.CompletedProcess[str]":
    command = python_command("-m", "dagster_gcf_pipes", "init", name)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = python_command("-m", *arguments)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_an_empty_folder_becomes_a_project_that_runs(tmp_path: Path, environment: Mapping[str, str]) -> None:
    assert init(tmp_path, "orders").returncode == 0
    dev = run(tmp_path, "dagster_gcf_pipes", "dev", "--", sys.executable, "-c", MATERIALIZE, env=environment)
    assert (dev.returncode, dev.stdout) == (0, "rows: [3]\n"), dev.stderr


def test_the_tests_that_it_writes_pass(tmp_path: Path) -> None:
    """Also those of several functions, whose files have the same names."""
    for name in ("orders", "new-customers"):
        assert init(tmp_path, name).returncode == 0
    result = run(tmp_path, "pytest", "--quiet", "functions")
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout


def test_the_function_needs_nothing_outside_its_folder(tmp_path: Path) -> None:
    """It was not installed from an index here, so `gcf_pipes` lies beside it."""
    init(tmp_path, "orders")
    folder = tmp_path / "functions" / "orders"
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import gcf_pipes; print(gcf_pipes.__file__)"
    imported = subprocess.run(python_command("-c", code), capture_output=True, text=True, check=True).stdout
    assert imported == f"{folder / 'gcf_pipes' / '__init__.py'}\n"
    assert list(folder.rglob("__pycache__")) == []
    requirements = (folder / "requirements.txt").read_text().split()
    assert [line.partition(">=")[0] for line in requirements] == [
        "functions-framework",
        "dagster-pipes",
        "google-cloud-storage",
    ]


def test_a_project_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "definitions.py").write_text("defs = 1\n")
    (tmp_path / "pyproject.toml").write_text('# a comment\n[project]\nname = "shop"\n')
    result = init(tmp_path, "orders")
    assert "definitions.py exists, so add to your definitions:" in result.stdout
    assert 'function="orders"' in result.stdout
    assert (tmp_path / "definitions.py").read_text() == "defs = 1\n"
    pyproject = (tmp_path / "pyproject.toml").read_text()
    assert pyproject.startswith('# a comment\n[project]\nname = "shop"\n')
    assert 'orders = "functions/orders"' in pyproject
    assert COMMAND not in pyproject


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Orders", "Expected the name of a function: lowercase letters"),
        ("1orders", "Expected the name of a function: lowercase letters"),
        ("o" * 64, "Expected the name of a function: lowercase letters"),
        ("../orders", "Expected the name of a function: lowercase letters"),
        ("existing", "existing exists.\nFix: Choose another name, or delete the folder."),
    ],
)
def test_wrong_input_writes_nothing(name: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "functions" / "existing").mkdir(parents=True)
    result = init(tmp_path, name)
    assert result.returncode != 0
    assert expected in result.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["functions", "existing"]


def test_a_broken_pyproject_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("not TOML")
    result = init(tmp_path, "orders")
    assert "Expected pyproject.toml to be a TOML file" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]
