"""The two projects describe themselves alike, and the page about compatibility says what they promise."""

import importlib.metadata
import re
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml
from gcf_pipes._shared import protocol
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dagster_gcf_pipes._environment import BUCKET_VARIABLE, LOCAL_FUNCTIONS_VARIABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/compatibility.md").read_text()


def project(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = tomlkit.parse((ROOT / folder / "pyproject.toml").read_text()).unwrap()["project"]
    return found


PROJECTS = [project("."), project("cloud_function")]


@pytest.mark.parametrize("key", ["version", "urls", "authors", "license", "license-files", "requires-python"])
def test_both_projects_say_the_same(key: str) -> None:
    assert PROJECTS[0][key] == PROJECTS[1][key]


def test_both_distributions_have_the_same_licence() -> None:
    assert (ROOT / "cloud_function/LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_code_of_the_functions_readme_is_what_init_writes() -> None:
    """The tests of `dagster-gcf-pipes init` run it."""
    code = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "cloud_function/README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert code == [files("dagster_gcf_pipes").joinpath("_templates/main.py").read_text()]


def pythons(first: str, last: str) -> list[str]:
    return [f"3.{minor}" for minor in range(int(first.removeprefix("3.")), int(last.removeprefix("3.")) + 1)]


def promised_pythons() -> list[str]:
    (row,) = re.findall(r"^\| Python \| (3\.\d+) to (3\.\d+) \|", PAGE, re.MULTILINE)
    return pythons(*row)


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: str(project["name"]))
def test_the_promised_pythons_are_those_of_the_metadata(project: dict[str, Any]) -> None:
    classifiers = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert classifiers == promised_pythons()
    assert project["requires-python"] == f">={promised_pythons()[0]}"


def test_the_promised_pythons_are_those_of_the_workflow() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["versions"]["strategy"]["matrix"]["python"] == promised_pythons()


def test_the_promised_pythons_are_all_that_dagster_supports() -> None:
    supported = SpecifierSet(importlib.metadata.metadata("dagster")["Requires-Python"])
    assert [version for version in pythons("3.7", "3.40") if f"{version}.0" in supported] == promised_pythons()


@pytest.mark.parametrize(("project", "dependency"), [(PROJECTS[0], "dagster"), (PROJECTS[1], "dagster-pipes")])
def test_the_promised_dagster_is_the_oldest_that_is_allowed(project: dict[str, Any], dependency: str) -> None:
    (oldest,) = re.findall(r"^\| Dagster \| ([\d.]+) and later \|", PAGE, re.MULTILINE)
    requirements = {found.name: found for found in map(Requirement, project["dependencies"])}
    assert str(requirements[dependency].specifier) == f">={oldest}"


def test_the_public_packages_exist() -> None:
    (line,) = re.findall(r"^- What `__all__` lists in ([^:]+):", PAGE, re.MULTILINE)
    for name in re.findall(r"`([\w.]+)`", line):
        assert import_module(name).__all__


def test_the_public_variables_are_those_of_the_code() -> None:
    (line,) = re.findall(r"^- The environment variables (.+)$", PAGE, re.MULTILINE)
    names = [protocol.BUCKETS_VARIABLE, protocol.KEY_PREFIX_VARIABLE, LOCAL_FUNCTIONS_VARIABLE, BUCKET_VARIABLE]
    assert re.findall(r"`(\w+)`", line) == names


def test_the_public_headers_have_the_promised_prefix() -> None:
    headers = [value for name, value in vars(protocol).items() if name.endswith("_HEADER")]
    assert len(headers) > 3
    assert all(header.startswith("Dagster-Pipes-") for header in headers)
    assert f"`{protocol.VERSION_HEADER}`" in PAGE
