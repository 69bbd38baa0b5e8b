"""The reference has an entry for everything that is public. This looks at the pages as Sphinx builds them."""

import ast
import html
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import dagster as dg
import gcf_pipes
import gcf_pipes._shared.protocol
import pytest

import dagster_gcf_pipes
import dagster_gcf_pipes.local
import dagster_gcf_pipes.testing
import dagster_gcf_pipes.testing.pytest_plugin
from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionComponent, PipesCloudFunctionSpec
from dagster_gcf_pipes._cli import main
from dagster_gcf_pipes._errors import METADATA_PREFIX
from dagster_gcf_pipes.local._settings import _KEYS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROTOCOL = gcf_pipes._shared.protocol  # noqa: SLF001
PACKAGES = [dagster_gcf_pipes, dagster_gcf_pipes.local, dagster_gcf_pipes.testing, gcf_pipes]
SOURCES = sorted([*ROOT.glob("dagster_gcf_pipes/**/*.py"), *ROOT.glob("cloud_function/gcf_pipes/**/*.py")])
ENTRY = re.compile(r"(?P<name>.+?) (?P<type>\S+:\S+) -?\d+ (?P<place>\S*) .*")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", str(DOCS), str(folder)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout
    return folder


@pytest.fixture(scope="module")
def entries(site: Path) -> set[str]:
    """The entries with an anchor, as `py:NAME` or `TYPE:NAME`."""
    data = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = filter(None, map(ENTRY.fullmatch, zlib.decompress(data).decode().splitlines()))
    return {f"{line['type'].replace('std:', '') if 'std:' in line['type'] else 'py'}:{line['name']}" for line in lines}


def module_of(source: Path) -> str:
    path = source.relative_to(ROOT / "cloud_function" if "cloud_function" in source.parts else ROOT)
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def is_environment(node: ast.AST) -> bool:
    return ast.unparse(node) == "os.environ"


def variables_read(source: Path) -> Iterator[ast.expr]:
    """What a file passes to `os.environ.get`, `os.getenv`, `os.environ[...]` and `... in os.environ`."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.environ.get", "os.getenv"}:
            yield node.args[0]
        elif isinstance(node, ast.Subscript) and is_environment(node.value):
            yield node.slice
        elif isinstance(node, ast.Compare) and is_environment(node.comparators[0]):
            yield node.left


def environment_variables() -> Iterator[str]:
    for source in SOURCES:
        for expression in variables_read(source):
            known = isinstance(expression, ast.Constant)
            yield ast.literal_eval(expression) if known else getattr(import_module(module_of(source)), expression.id)  # type: ignore[attr-defined]
    for command in main.commands.values():
        yield from (str(option.envvar) for option in command.params if option.envvar)


def metadata_keys() -> Iterator[str]:
    """The keys that are written with the prefix, and those of the dicts that `Call` gives the prefix."""
    for source in SOURCES:
        yield from re.findall(r"\{METADATA_PREFIX\}([a-z0-9_]+)", source.read_text())
    for node in ast.walk(ast.parse((ROOT / "dagster_gcf_pipes/_call.py").read_text())):
        if isinstance(node, ast.FunctionDef) and node.name in {"running_metadata", "result_metadata", "describe"}:
            dicts = (each for each in ast.walk(node) if isinstance(each, ast.Dict))
            yield from (ast.literal_eval(key) for each in dicts for key in each.keys if key)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_entry(entries: set[str], package: object) -> None:
    assert [name for name in package.__all__ if f"py:{package.__name__}.{name}" not in entries] == []  # type: ignore[attr-defined]


def test_every_field_of_the_resource_has_an_entry(entries: set[str]) -> None:
    fields = {f"py:dagster_gcf_pipes.PipesCloudFunctionClient.{name}" for name in PipesCloudFunctionClient.model_fields}
    assert fields - entries == set()


def test_every_field_shows_its_default_and_description(site: Path) -> None:
    page = html.unescape(re.sub(r"<[^>]+>", "", (site / "reference/resource.html").read_text()))
    text = "".join(page.split())
    for name, field in PipesCloudFunctionClient.model_fields.items():
        default = "" if field.is_required() else f"={field.default!r}"
        description = str(field.description).replace("`", "")
        assert "".join(f"{default}¶{description}".split()) in text, name


@pytest.mark.parametrize("component", [PipesCloudFunctionComponent, PipesCloudFunctionSpec])
def test_every_attribute_of_a_component_has_an_entry(entries: set[str], component: type[dg.Resolvable]) -> None:
    """Also those of Dagster's own, which the page describes itself."""
    attributes = {f"py:dagster_gcf_pipes.{component.__name__}.{name}" for name in component.model().model_fields}
    assert attributes - entries == set()


def test_every_fixture_has_an_entry(entries: set[str]) -> None:
    plugin = dagster_gcf_pipes.testing.pytest_plugin
    fixtures = re.findall(r"@pytest\.fixture.*\ndef (\w+)", Path(plugin.__file__).read_text())
    assert fixtures
    assert {f"py:{plugin.__name__}.{name}" for name in fixtures} - entries == set()


def test_every_command_and_option_has_an_entry(entries: set[str], site: Path) -> None:
    page = (site / "reference/cli.html").read_text()
    for name, command in main.commands.items():
        assert f'id="dagster-gcf-pipes-{name}"' in page
        for option in command.params:
            shown = option.opts[0] if isinstance(option, click.Option) else str(option.name).upper()
            assert f"cmdoption:dagster-gcf-pipes-{name}.{shown}" in entries


def test_every_environment_variable_has_an_entry(entries: set[str]) -> None:
    variables = set(environment_variables())
    assert {"GCF_PIPES_BUCKETS", "STORAGE_EMULATOR_HOST", "PIPES_BUCKET"} < variables
    assert {f"envvar:{name.upper()}" for name in variables} - entries == set()


def test_every_metadata_key_has_an_entry(entries: set[str]) -> None:
    assert {entry for entry in entries if entry.startswith("metadata-key:")} == {
        f"metadata-key:{METADATA_PREFIX}{name}" for name in metadata_keys()
    }


def test_every_header_has_an_entry(entries: set[str]) -> None:
    headers = {value for name, value in vars(PROTOCOL).items() if name.endswith("_HEADER")}
    assert {f"http-header:{name}" for name in headers} - entries == set()


def test_the_pages_show_every_constant_of_the_protocol() -> None:
    """The directive `constants` shows it with its value; environment variables have entries."""
    shown = (DOCS / "protocol.md").read_text() + (DOCS / "operations/limits.md").read_text()
    constants = {name for name in vars(PROTOCOL) if name.isupper() and not name.endswith(("_VAR", "_VARIABLE"))}
    assert constants - set(re.findall(r"^(?:[\w.]+\.)?([A-Z_]+)$", shown, re.MULTILINE)) == set()


def test_the_page_names_every_key_of_the_table_in_pyproject() -> None:
    table = (DOCS / "reference/cli.md").read_text().partition("| key | default | |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == _KEYS
