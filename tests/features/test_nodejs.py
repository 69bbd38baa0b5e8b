"""The snippet whose function is in Node.js. It needs Node.js and, once, the packages on npm."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from dagster import DagsterInstance

from dagster_gcf_pipes.local import Emulator
from dagster_gcf_pipes.local._processes import ChildProcess, run_on_free_port, run_process
from examples.features import nodejs
from tests.features.runs import evaluated, materialized, reported, run_assets

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "cloud_function_nodejs"
FRAMEWORK = PACKAGE / "node_modules" / "@google-cloud" / "functions-framework" / "build" / "src" / "main.js"
OLDEST = 20


def node_version() -> int:
    """Return the major version of the Node.js on the PATH, or 0 if there is none."""
    if not shutil.which("node") or not shutil.which("npm"):
        return 0
    version = subprocess.check_output(["node", "--version"], text=True)
    match = re.match(r"v(\d+)", version)
    assert match, version
    return int(match[1])


@pytest.fixture(scope="module")
def package() -> None:
    """The package, built as it is now."""
    if node_version() < OLDEST:
        pytest.skip(f"Node.js {OLDEST} or later with npm is not installed")
    if not FRAMEWORK.exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=PACKAGE, check=True)
    subprocess.run(["npm", "run", "build"], cwd=PACKAGE, check=True)


@pytest.fixture
def node_function(
    package: None, emulator: Emulator, environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The function of the snippet, served beside those in Python."""
    folder = tmp_path / "functions_nodejs"
    shutil.copytree(ROOT / "examples" / "features" / "functions_nodejs", folder)
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "gcf-pipes").symlink_to(PACKAGE)
    functions = json.loads(os.environ["GCF_PIPES_LOCAL_FUNCTIONS"])

    def serve(port: int) -> AbstractContextManager[ChildProcess]:
        command = ["node", str(FRAMEWORK), "--target=orders", f"--source={folder}", f"--port={port}"]
        env = {"STORAGE_EMULATOR_HOST": emulator.url, "GCF_PIPES_BUCKETS": os.environ["PIPES_BUCKET"]}
        return run_process(command, ready=r"URL: (http\S+)", env=env)

    with run_on_free_port(serve) as server:
        functions["node-orders"] = server.ready
        monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", json.dumps(functions))
        yield


def test_nodejs(node_function: None, instance: DagsterInstance) -> None:
    run = run_assets(nodejs, instance)
    assert run.is_success
    materialization = materialized(instance, run)["node_orders"]
    assert reported(materialization)["rows"] == 3
    assert evaluated(instance, run)["node_orders:not_empty"].passed
