"""The pages that quote errors: they have every error, and every quote has its test."""

import re
from pathlib import Path

import gcf_pipes
from gcf_pipes import GcfPipesError

import dagster_gcf_pipes
from tests.quotes import PAGES, quotes

ERRORS = PAGES / "reference" / "errors.md"
TROUBLESHOOTING = PAGES / "operations" / "troubleshooting.md"


def classes(package: object) -> set[str]:
    return {name for name in getattr(package, "__all__", ()) if name.endswith("Error")}


def test_the_reference_has_every_error_class() -> None:
    public = {f"{package.__name__}.{name}" for package in (dagster_gcf_pipes, gcf_pipes) for name in classes(package)}
    assert set(re.findall(r"^\.\. autoexception:: (\S+)$", ERRORS.read_text(), re.MULTILINE)) == public


def test_the_reference_has_every_code_of_the_runtime() -> None:
    codes = {getattr(gcf_pipes, name).code for name in classes(gcf_pipes)}
    in_function = ERRORS.read_text().partition("\n## In the function\n")[2]
    assert codes == set(re.findall(r"^### ([a-z_]+)$", in_function, re.MULTILINE))
    assert GcfPipesError.code in codes


def test_every_quote_is_written_and_has_a_test() -> None:
    code = "".join(path.read_text() for path in Path(__file__).parent.rglob("*.py"))
    for page in PAGES.rglob("*.md"):
        assert [name for name, text in quotes(page) if not text] == []
        assert [name for name, _ in quotes(page) if f'"{name}"' not in code and f"def {name}(" not in code] == []


def test_the_reference_has_what_troubleshooting_quotes() -> None:
    shown, listed = dict(quotes(TROUBLESHOOTING)), dict(quotes(ERRORS))
    assert shown.keys() - listed.keys() == {"doctor"}


def test_every_error_in_these_pages_is_a_quote() -> None:
    for page in (ERRORS, TROUBLESHOOTING):
        assert page.read_text().count("```text\n") == len(list(quotes(page)))
