"""The functions of the snippets, a Dagster instance on each database, and a daemon."""

import json
import shutil
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
CreateStorage = Callable[[Path], dict[str, Any]]
"""Creates an empty storage for a new home folder of Dagster; returns its settings for `dagster.yaml`."""


@pytest.fixture(scope="module")
def environment(emulator: Emulator) -> Iterator[None]:
    """The environment that leads the snippets to functions and a bucket on this machine. Other tests have their own."""
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


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder of Dagster with empty databases. A copy takes a tenth of the time that their creation takes."""
    home = tmp_path_factory.mktemp("sqlite")
    with instance_for_test(temp_dir=str(home)):
        return home


@pytest.fixture(scope="session", params=["SQLite", "PostgreSQL"])
def create_storage(request: pytest.FixtureRequest) -> CreateStorage:
    if request.param == "PostgreSQL":
        cluster: PostgreSQL = request.getfixturevalue("postgresql")
        return lambda _: {"storage": cluster.create_storage()}
    empty: Path = request.getfixturevalue("sqlite")

    def copy(home: Path) -> dict[str, Any]:
        shutil.copytree(empty, home, dirs_exist_ok=True)
        return {}

    return copy


@pytest.fixture
def instance(environment: None, create_storage: CreateStorage, tmp_path: Path) -> Iterator[DagsterInstance]:
    """A new instance that keeps what it stores, for runs in this process and in others."""
    with instance_for_test(create_storage(tmp_path), temp_dir=str(tmp_path)) as instance:
        yield instance


@pytest.fixture(scope="module")
def workspace(environment: None) -> Iterator[Path]:
    """The workspace file of a code server with the snippets of `code_location.py`."""
    with run_code_server() as workspace:
        yield workspace


@pytest.fixture(scope="module")
def daemon(
    workspace: Path, create_storage: CreateStorage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A daemon and a webserver, which all tests share."""
    home = tmp_path_factory.mktemp("daemon")
    with run_daemon(home, create_storage(home), workspace) as daemon:
        yield daemon
