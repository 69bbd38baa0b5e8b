"""The functions of the snippets, a Dagster instance on each database, and a daemon."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, instance_for_test
from google.cloud import storage as cloud_storage

from dagster_gcf_pipes.local import Emulator, run_function
from examples.features.functions import main as functions
from tests.features.daemon import Daemon, run_code_server, run_daemon
from tests.features.postgresql import PostgreSQL, find_postgresql, run_postgresql

ROOT = Path(__file__).parent.parent.parent
CreateStorage = Callable[[], dict[str, Any]]
"""Returns the settings of a new, empty storage, as in `dagster.yaml`."""


@pytest.fixture(scope="session")
def environment(emulator: Emulator) -> Iterator[None]:
    """The environment that leads the snippets to functions and a bucket on this machine."""
    served = ROOT / "tests" / "functions" / "features"
    bucket = f"features-{uuid.uuid4().hex}"
    names = [name for name in vars(functions) if hasattr(getattr(functions, name), "__gcf_pipes_entry_point__")]
    with (
        run_function(served, emulator_url=emulator.url, env={"PYTHONPATH": str(ROOT)}) as server,
        pytest.MonkeyPatch.context() as variables,
    ):
        variables.setenv("PIPES_BUCKET", bucket)
        variables.setenv("GCF_PIPES_LOCAL_FUNCTIONS", json.dumps({name: f"{server.url}/{name}" for name in names}))
        cloud_storage.Client(project="local").create_bucket(bucket)
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    if not (programs := find_postgresql()):
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`")
    with run_postgresql(programs) as cluster:
        yield cluster


@pytest.fixture(scope="session", params=["SQLite", "PostgreSQL"])
def create_storage(request: pytest.FixtureRequest) -> CreateStorage:
    if request.param == "SQLite":
        return dict  # Dagster's default, in its home folder
    cluster: PostgreSQL = request.getfixturevalue("postgresql")
    return lambda: {"storage": cluster.create_storage()}


@pytest.fixture
def instance(environment: None, create_storage: CreateStorage) -> Iterator[DagsterInstance]:
    """A new instance that keeps what it stores, for runs in this process and in others."""
    with instance_for_test(create_storage()) as instance:
        yield instance


@pytest.fixture(scope="session")
def workspace(environment: None) -> Iterator[Path]:
    """The workspace file of a code server with the snippets of `code_location.py`."""
    with run_code_server() as workspace:
        yield workspace


@pytest.fixture(scope="session")
def daemon(workspace: Path, create_storage: CreateStorage) -> Iterator[Daemon]:
    """A daemon and a webserver, which all tests share."""
    with run_daemon(create_storage(), workspace) as daemon:
        yield daemon
