"""The snippet whose function is in Node.js. It needs Node.js and, once, the packages on npm."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from dagster_gcf_pipes.local import Emulator
from examples.features import nodejs
from tests.features.runs import evaluated, materialized, reported, run_assets
from tests.nodejs import serve_nodejs, why_no_nodejs

FUNCTION = Path(nodejs.__file__).parent / "functions_nodejs"


@pytest.fixture
def node_function(
    emulator: Emulator, environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The function of the snippet, served beside those in Python."""
    if reason := why_no_nodejs():
        pytest.skip(reason)
    source = Path(shutil.copytree(FUNCTION, tmp_path / "functions_nodejs"))
    env = {"STORAGE_EMULATOR_HOST": emulator.url, "GCF_PIPES_BUCKETS": os.environ["PIPES_BUCKET"]}
    with serve_nodejs(source, target="orders", env=env) as child:
        functions = json.loads(os.environ["GCF_PIPES_LOCAL_FUNCTIONS"])
        monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", json.dumps({**functions, "node-orders": child.ready}))
        yield


def test_nodejs(node_function: None, instance: DagsterInstance) -> None:
    run = run_assets(nodejs, instance)
    assert run.is_success
    materialization = materialized(instance, run)["node_orders"]
    assert reported(materialization)["rows"] == 3
    assert evaluated(instance, run)["node_orders:not_empty"].passed
