"""`dagster-gcf-pipes init` in an empty folder, and in a project. What it writes runs as it stands."""

import builtins
import keyword
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import tomlkit
from dagster import AssetKey, Definitions
from dagster._core.definitions.utils import DISALLOWED_NAMES

from dagster_gcf_pipes._scaffold import COMMAND, _template, with_function
from dagster_gcf_pipes.local._processes import python_command
from dagster_gcf_pipes.local._settings import SettingsError, load_table
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
    for name in ("orders", "new-customers", "class", "class-asset"):
        assert init(tmp_path, name).returncode == 0
    result = run(tmp_path, "pytest", "--quiet", "functions")
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


def test_the_function_needs_nothing_outside_its_folder(tmp_path: Path) -> None:
    """It was not installed from an index here, so `gcf_pipes` lies beside it."""
    init(tmp_path, "orders")
    folder = tmp_path / "functions" / "orders"
    assert list(folder.rglob("__pycache__")) == []
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import gcf_pipes; print(gcf_pipes.__file__)"
    imported = subprocess.run(python_command("-c", code), capture_output=True, text=True, check=True).stdout
    assert imported == f"{folder / 'gcf_pipes' / '__init__.py'}\n"
    requirements = (folder / "requirements.txt").read_text().split()
    assert [line.partition(">=")[0] for line in requirements] == [
        "functions-framework",
        "dagster-pipes",
        "google-cloud-storage",
        "requests",
    ]


def test_a_project_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "definitions.py").write_text("defs = 1\n")
    before = '\ufeff# a comment\r\n[project]\r\nname = "shop"\r\n'.encode()
    (tmp_path / "pyproject.toml").write_bytes(before)
    result = init(tmp_path, "orders")
    definitions = _template("definitions.py", "orders")
    assert f"definitions.py exists, so add to your definitions:\n\n{definitions}\n" in result.stdout
    assert (tmp_path / "definitions.py").read_text() == "defs = 1\n"
    pyproject = (tmp_path / "pyproject.toml").read_bytes()
    assert pyproject.startswith(before)
    assert b'orders = "functions/orders"\r\n' in pyproject
    assert COMMAND.encode() not in pyproject
    assert load_table(tmp_path / "pyproject.toml") == {"functions": {"orders": "functions/orders"}}


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


TAKEN = {"asset", "bucket", "cloud_function", "dagster", "defs", "event", "project", "region"}
NAMES = [name.replace("_", "-") for name in {*keyword.kwlist, *DISALLOWED_NAMES, *dir(builtins), *TAKEN}]


@pytest.mark.parametrize("name", sorted(name for name in NAMES if name.islower() and name[0].isalpha()))
def test_the_definitions_load_for_every_name(name: str) -> None:
    namespace: dict[str, object] = {}
    definitions = _template("definitions.py", name)
    exec(definitions, namespace)
    defs = namespace["defs"]
    assert isinstance(defs, Definitions)
    asset = f"{name.replace('-', '_')}_asset"
    assert list(defs.resolve_asset_graph().get_all_asset_keys()) == [AssetKey(asset)]
    assert f'function="{name}"' in definitions


def test_a_name_may_contain_the_one_of_the_template() -> None:
    definitions = _template("definitions.py", "new-orders")
    assert "def new_orders(" in definitions
    assert 'function="new-orders"' in definitions


@pytest.mark.parametrize(
    "text",
    [
        'tool.dagster-gcf-pipes = { bucket = "b" }\n[project]\nname = "shop"\n',
        "tool = { ruff = { line-length = 120 } }\n",
        '[tool.dagster-gcf-pipes]\nfunctions = { other = "b" }\n',
        '[tool.dagster-gcf-pipes.functions.other]\nsource = "b"\n',
        '[tool.dagster-gcf-pipes.functions]\norders = "functions/orders"\n',
        "[tool.ruff]\nx = 1\n[project]\nname = 'shop'\n[tool.mypy]\ny = 1",
    ],
)
@pytest.mark.parametrize(("mark", "newline"), [("", "\n"), ("\ufeff", "\r\n")])
def test_a_function_is_added_to_any_pyproject(text: str, mark: str, newline: str) -> None:
    expected = tomlkit.parse(text).unwrap()
    ours = expected.setdefault("tool", {}).setdefault("dagster-gcf-pipes", {})
    ours.setdefault("functions", {})["orders"] = "functions/orders"
    ours["command"] = COMMAND
    written = with_function(mark + text.replace("\n", newline), "orders", Path("functions/orders"), command=COMMAND)
    assert tomlkit.parse(written.removeprefix(mark)).unwrap() == expected
    assert written.startswith(mark)
    assert written.count("\n") == written.count(newline)


@pytest.mark.parametrize("after", ["ruff.x = 1", "[project]\n[tool.dagster-gcf-pipes.functions]\na = 'b'"])
def test_dotted_keys_are_not_broken(after: str) -> None:
    """tomlkit would write the table of the functions between the keys, or twice."""
    text = f'[tool]\ndagster-gcf-pipes.bucket = "b"\n{after}\n'
    with pytest.raises(SettingsError, match="got dotted keys"):
        with_function(text, "orders", Path("functions/orders"), command=COMMAND)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not TOML", "Expected pyproject.toml to be a TOML file"),
        ("tool = 3", "to be a table, got 3"),
        ("[tool]\ndagster-gcf-pipes = 1", "to be a table, got 1"),
        ("[[tool.dagster-gcf-pipes]]", "to be a table, got [{}]"),
        ("tool.dagster-gcf-pipes.functions = 'x'", "Expected `functions` in pyproject.toml to be a table, got 'x'"),
        ("tool.dagster-gcf-pipes.functions.orders = 'x'", "has the function 'orders' with the source 'x'"),
    ],
)
def test_a_wrong_pyproject_is_not_overwritten(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    result = init(tmp_path, "orders")
    assert (expected in result.stderr, result.returncode) == (True, 2), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]
    assert (tmp_path / "pyproject.toml").read_text() == text


@pytest.mark.parametrize("in_the_way", ["functions", "definitions.py/", "pyproject.toml/"])
def test_something_in_the_way_writes_nothing(in_the_way: str, tmp_path: Path) -> None:
    path = tmp_path / in_the_way
    path.mkdir() if in_the_way.endswith("/") else path.touch()
    result = init(tmp_path, "orders")
    assert (f"Expected {path.name} to be a" in result.stderr, result.returncode) == (True, 2), result.stderr
    assert list(tmp_path.rglob("*")) == [path]


@pytest.mark.parametrize("file", ["pyproject.toml", "definitions.py", "functions/orders"])
def test_a_failed_write_can_be_repeated(file: str, tmp_path: Path) -> None:
    """A link into a missing folder stands for a missing permission, which root would not notice."""
    link = tmp_path / file
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("missing/target")
    result = init(tmp_path, "orders")
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)
    assert f"Expected to write into {tmp_path}" in result.stderr
    assert file in result.stderr
    link.unlink()
    assert init(tmp_path, "orders").returncode == 0
