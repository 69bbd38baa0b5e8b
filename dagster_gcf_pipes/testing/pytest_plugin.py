"""Fixtures for tests with real processes: an emulator, and functions on functions-framework.

Name it in a `conftest.py` at the root of your tests::

    pytest_plugins = ["dagster_gcf_pipes.testing.pytest_plugin"]

Needs the extra `dagster-gcf-pipes[local]`. Under pytest-xdist, each worker has its own processes.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from gcf_pipes._shared.storage import EMULATOR_VARIABLE

from dagster_gcf_pipes._environment import BUCKET_VARIABLE, LOCAL_FUNCTIONS_VARIABLE
from dagster_gcf_pipes.local import Emulator, available_emulators, run_emulator, run_function, storage_client


@dataclass(frozen=True)
class LocalFunctions:
    """Functions that run on this machine.

    Attributes:
        bucket: The name of the bucket for their messages.
        urls: Their URLs, by name.
    """

    bucket: str
    urls: Mapping[str, str]


StartFunctions = Callable[..., LocalFunctions]


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[Emulator]:
    """A Cloud Storage emulator in a process of its own. `STORAGE_EMULATOR_HOST` leads all clients to it."""
    with run_emulator(available_emulators()[0]) as emulator, pytest.MonkeyPatch.context() as environment:
        environment.setenv(EMULATOR_VARIABLE, emulator.url)
        yield emulator


@pytest.fixture(scope="session")
def local_functions(gcs_emulator: Emulator) -> Iterator[StartFunctions]:
    """Starts functions: `local_functions(orders="functions/orders")`, with the folder of `main.py` or the file itself.

    Each runs on functions-framework, as in the cloud, until the end of the tests, and starts once. Then
    `PipesCloudFunctionClient(bucket=EnvVar("PIPES_BUCKET"))` calls it with `run(function="orders")`, and with
    `run(function_url=...)` at the returned `urls["orders"]`.
    """
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        bucket = _create_bucket(gcs_emulator)
        urls: dict[str, str] = {}
        sources: dict[str, Path] = {}

        def start(**functions: str | os.PathLike[str]) -> LocalFunctions:
            for name, path in functions.items():
                source = _source(path)
                if sources.setdefault(name, source) != source:
                    raise ValueError(
                        f"Expected the function {name!r} to be {sources[name]}, as before, got {source}.\n"
                        "Fix: Give it another name."
                    )
                if name not in urls:
                    server = stack.enter_context(run_function(source, emulator_url=gcs_emulator.url))
                    urls[name] = server.url
            environment.setenv(BUCKET_VARIABLE, bucket)
            environment.setenv(LOCAL_FUNCTIONS_VARIABLE, json.dumps(urls))
            return LocalFunctions(bucket, {name: urls[name] for name in functions})

        yield start


def _source(path: str | os.PathLike[str]) -> Path:
    source = Path(path).resolve()
    source = source / "main.py" if source.is_dir() else source
    if not source.is_file():
        raise FileNotFoundError(f"Expected a folder with a `main.py`, or a file, got {path!s} in {Path.cwd()}.")
    return source


def _create_bucket(emulator: Emulator) -> str:
    name = f"pipes-{uuid.uuid4().hex}"
    with closing(storage_client(emulator.url)) as client:
        client.create_bucket(name)
    return name
