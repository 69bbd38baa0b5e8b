"""The page, the snippets and the tests name the same features."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from dagster import Definitions

from examples.features import validate_loadable

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "dagster-features.md"
SNIPPETS = {path.stem for path in (ROOT / "examples" / "features").glob("[a-z]*.py")}
LINK = r"\[.+?\]\(source:examples/features/(?P<name>\w+)\.py\)"
ROW = re.compile(rf"^\| .+? \| (?P<how>.+?) \| {LINK} \| (?P<ran>.+?) \|$")
RAN = {
    frozenset(): "no instance",
    frozenset({"instance"}): "SQLite, PostgreSQL",
    frozenset({"daemon"}): "SQLite, PostgreSQL, daemon",
    frozenset({"instance", "daemon"}): "SQLite, PostgreSQL, daemon",
}


def rows() -> dict[str, re.Match[str]]:
    matches = [match for line in PAGE.read_text().splitlines() if (match := ROW.match(line))]
    assert len({match["name"] for match in matches}) == len(matches)
    return {match["name"]: match for match in matches}


def names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def snippets_run_by(path: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the snippets that each test of a file names, itself or in its helpers, with the test's fixtures."""
    functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    for name, test in functions.items():
        if name.startswith("test_"):
            names = names_in(test)
            names |= {used for helper in names & functions.keys() for used in names_in(functions[helper])}
            for snippet in names & SNIPPETS:
                yield snippet, frozenset(argument.arg for argument in test.args.args) & {"instance", "daemon"}


def fixtures_by_snippet() -> dict[str, frozenset[str]]:
    fixtures: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for path in Path(__file__).parent.glob("test_*.py"):
        for snippet, used in snippets_run_by(path):
            fixtures[snippet] |= used
    return fixtures


def test_each_snippet_has_a_row_and_a_test() -> None:
    assert set(rows()) == SNIPPETS == set(fixtures_by_snippet())


@pytest.mark.parametrize("name", sorted(SNIPPETS))
def test_a_row_says_what_the_snippet_says_and_where_it_ran(name: str) -> None:
    row = rows()[name]
    docstring = import_module(f"examples.features.{name}").__doc__ or ""
    assert row["how"] == docstring.partition("\n")[0].rstrip(".")
    assert row["ran"] == RAN[fixtures_by_snippet()[name]]


@pytest.mark.parametrize("name", sorted(SNIPPETS))
def test_the_definitions_of_a_snippet_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPES_BUCKET", raising=False)
    module = import_module(f"examples.features.{name}")
    Definitions.validate_loadable(getattr(module, "defs", Definitions()))


def test_validate_loadable() -> None:
    validate_loadable.test_definitions_load()
