"""GitHub Actions run the recipes that a person runs, and all that `just ci` runs."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
JUST = Path(sys.executable).with_name("just")


@pytest.fixture(scope="module")
def recipes() -> dict[str, Any]:
    dump = subprocess.check_output([JUST, "--dump", "--dump-format", "json"], cwd=ROOT)
    found: dict[str, Any] = json.loads(dump)["recipes"]
    return found


def commands(workflow: Path) -> set[str]:
    """Return the recipes that a workflow runs, for each cell of its matrices."""
    found: set[str] = set()
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        cells = [dict(zip(map(str.upper, matrix), values, strict=True)) for values in product(*matrix.values())]
        for cell, step in product(cells, job.get("steps", [])):
            command = Template(step.get("run", "")).safe_substitute(cell)
            found |= set(re.findall(r"\bjust \"?([\w-]+)", command))
    return found


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_each_recipe_of_a_workflow_exists(recipes: dict[str, Any], workflow: Path) -> None:
    assert commands(workflow) <= set(recipes)


def test_a_pull_request_runs_all_of_just_ci(recipes: dict[str, Any]) -> None:
    needed = {dependency["recipe"] for dependency in recipes["ci"]["dependencies"]}
    assert needed <= commands(ROOT / ".github/workflows/ci.yml")


@pytest.mark.parametrize("name", ["ci.yml", "weekly.yml"])
def test_all_tests_have_the_earlier_commits(name: str) -> None:
    """Or those of tests/skew would be skipped."""
    jobs = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())["jobs"].values()
    (job,) = (job for job in jobs if "test-others" in job.get("strategy", {}).get("matrix", {}).get("recipe", []))
    assert job["steps"][0]["with"]["fetch-depth"] == 0


def test_the_commands_are_found() -> None:
    """Or the tests above would pass without one."""
    assert {"versions-lowest", "versions-newest", "lint", "terraform"} <= commands(ROOT / ".github/workflows/ci.yml")
    assert commands(ROOT / ".github/workflows/release.yml") == {"release"}
    assert commands(ROOT / ".github/workflows/docs.yml") == {"docs"}


def test_the_pre_commit_hooks_call_tools_of_the_locked_environment() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for hook in hooks:
        assert hook["entry"].startswith("uv run --locked --group dev ")
