"""The real parts that the tests run against: an emulator and functions, each in its own process."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from dagster import DagsterInstance
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, available_emulators, run_emulator, run_function
from tests.quotes import WRITE, Quote, check_quote

FUNCTIONS = Path(__file__).parent / "functions"
UI = Path(__file__).parent / "ui"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of the UI out unless they are named, as `just ui` does: they need a browser."""
    unnamed = not any("tests/ui" in argument for argument in config.args)
    return True if unnamed and collection_path == UI else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run only the tests that quote errors when the quotes are written."""
    if WRITE:
        items[:] = [item for item in items if "quote" in getattr(item, "fixturenames", ())]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on the preferred emulator, or on every one if it is marked so."""
    if "emulator" in metafunc.fixturenames:
        names = available_emulators()
        every = metafunc.definition.get_closest_marker("every_emulator")
        emulators, ids = (names, names) if every else (names[:1], ["emulator"])
        metafunc.parametrize("emulator", emulators, indirect=True, scope="session", ids=ids)


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with run_emulator(request.param) as emulator, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
        yield emulator


@pytest.fixture(scope="session")
def function(emulator: Emulator) -> Iterator[FunctionServer]:
    """The function whose behavior the event chooses."""
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=emulator.url) as server:
        yield server


@pytest.fixture(scope="session")
def stock_function(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "stock" / "main.py", emulator_url=emulator.url) as server:
        yield server


@pytest.fixture(scope="session")
def plain_function(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "plain" / "main.py", emulator_url=emulator.url) as server:
        yield server


@pytest.fixture(scope="session")
def reports(emulator: Emulator) -> Iterator[FunctionServer]:
    """The function that reports what the event says."""
    with run_function(FUNCTIONS / "reports" / "main.py", emulator_url=emulator.url) as server:
        yield server


@pytest.fixture(scope="module")
def endings(emulator: Emulator) -> Iterator[FunctionServer]:
    """The function whose code ends in the ways that users' code does."""
    with run_function(FUNCTIONS / "endings" / "main.py", emulator_url=emulator.url, threads=4) as server:
        yield server


@pytest.fixture
def storage_client(emulator: Emulator) -> Iterator[storage.Client]:
    with closing(storage.Client(project="local")) as client:
        yield client


@pytest.fixture
def bucket(storage_client: storage.Client) -> str:
    """The name of a new bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    storage_client.create_bucket(name)
    return name


@pytest.fixture
def client(bucket: str) -> PipesCloudFunctionClient:
    """The resource with its defaults."""
    return PipesCloudFunctionClient(bucket=bucket)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def quote() -> Quote:
    """Compares an error with its quotes in the documentation, or writes it there."""
    return check_quote
