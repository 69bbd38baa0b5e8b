"""A project of `create-dagster`, from nothing to a green run, with `dg` alone and no Python for Dagster."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterInstance

from tests.marked import nothing_left_running

COMMANDS = Path(sys.executable).parent
FUNCTION = "dagster_gcf_pipes.PipesCloudFunctionComponent"
CLIENT = "dagster_gcf_pipes.PipesCloudFunctionClientComponent"


@dataclass(frozen=True)
class Project:
    """A project, and the environment of its commands."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, command: str, *arguments: str, fails: bool = False) -> str:
        """Run a command in the project, and return its output."""
        completed = subprocess.run(
            [str(COMMANDS / command), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (completed.returncode != 0) == fails, completed.stdout
        return completed.stdout

    def dg(self, *arguments: str, fails: bool = False) -> str:
        """Run `dg` in the project, and return its output."""
        return self.run("dg", *arguments, fails=fails)


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Project]]:
    """Make a new project."""
    with nothing_left_running() as environment:
        variables = {
            **environment,
            "PATH": f"{COMMANDS}{os.pathsep}{environment['PATH']}",
            "PYTHONPATH": "src",  # in place of the installation of the project
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "COLUMNS": "200",
        }

        def make(name: str) -> Project:
            folder = tmp_path_factory.mktemp(name)
            Project(folder, variables).run("create-dagster", "project", "shop", "--no-uv-sync")
            return Project(folder / "shop", variables)

        yield make


@pytest.fixture(scope="module")
def project(new_project: Callable[[str], Project]) -> Project:
    """A project with the resource and a function."""
    project = new_project("project")
    project.dg("scaffold", "defs", CLIENT, "cloud_function", "--project", "my-project", "--region", "europe-west1")
    asset = ("--function", "weather", "--asset-key", "weather/raw", "--with-function", "true")
    project.dg("scaffold", "defs", FUNCTION, "weather", *asset)
    return project


def test_the_components_are_listed(project: Project) -> None:
    listed = project.dg("list", "components")
    assert CLIENT in listed
    assert FUNCTION in listed


def test_its_yaml_is_valid(project: Project) -> None:
    assert "All component YAML validated successfully." in project.dg("check", "yaml")


def test_its_definitions_load_without_the_variables_of_a_run(project: Project) -> None:
    """The bucket is the variable PIPES_BUCKET, which is not set here."""
    assert "PIPES_BUCKET" not in project.environment
    assert "All definitions loaded successfully." in project.dg("check", "defs")


def test_its_definitions_are_listed(project: Project) -> None:
    listed = project.dg("list", "defs")
    assert "weather/raw" in listed
    assert "cloud_function" in listed


def test_dg_shows_the_attributes(project: Project) -> None:
    shown = project.dg("utils", "inspect-component", FUNCTION)
    assert all(attribute in shown for attribute in ("execution", "function_url", "retry_policy"))


def test_it_runs_with_a_function_on_this_machine(project: Project, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").touch()
    launched = Project(project.folder, {**project.environment, "DAGSTER_HOME": str(tmp_path)})
    launched.run("dagster-gcf-pipes", "dev", "--", str(COMMANDS / "dg"), "launch", "--assets", "weather/raw")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        event = instance.get_latest_materialization_event(AssetKey(["weather", "raw"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["rows"].value, metadata["table"].value) == (3, "gs://lake/weather")


def test_the_test_of_the_function_passes(project: Project) -> None:
    assert "1 passed" in project.run("pytest", "--quiet", "functions/weather")


def test_a_second_function_of_that_name_is_refused_and_nothing_is_left(project: Project) -> None:
    refused = project.dg(
        "scaffold", "defs", FUNCTION, "again", "--function", "weather", "--with-function", "true", fails=True
    )
    assert "functions/weather exists.\nFix: Choose another name, or delete the folder." in refused
    assert not (project.folder / "src/shop/defs/again").exists()


def test_a_component_without_its_function_needs_no_folder(new_project: Callable[[str], Project]) -> None:
    project = new_project("calls")
    project.dg("scaffold", "defs", FUNCTION, "new_orders")
    assert (project.folder / "src/shop/defs/new_orders/defs.yaml").read_text() == (
        f"type: {FUNCTION}\n\n"
        "attributes:\n"
        "  execution:\n"
        "    function: new-orders\n"
        "  assets:\n"
        "    - key: new_orders\n"
        "      kinds:\n"
        "        - googlecloud\n"
        "        - python\n"
    )
    assert not (project.folder / "functions").exists()


def test_check_defs_says_what_is_wrong_and_where(project: Project) -> None:
    """`dg` loads all components, although it compares only one of each type with its schema."""
    folder = project.folder / "src/shop/defs/another"
    folder.mkdir()
    (folder / "defs.yaml").write_text(f"type: {FUNCTION}\nattributes:\n  execution: {{functoin: a}}\n")
    try:
        checked = project.dg("check", "defs", fails=True)
    finally:
        (folder / "defs.yaml").unlink()
        folder.rmdir()
    assert "There is no key 'functoin'.\nFix: Write 'function'." in checked
    assert "another/defs.yaml:3" in checked
