"""The two stacks that every case runs on: the real parts, and the simulated platform."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

import pytest
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, run_function, storage_client
from tests.conftest import FUNCTIONS
from tests.many.simulated_platform import REPOSITORY, SimulatedPlatform, run_simulated_platform

HEARTBEAT_INTERVAL = 0.5


@dataclass(frozen=True)
class Stack:
    """A storage and a function.

    Attributes:
        name: "real" or "simulated".
        storage_url: The value for `STORAGE_EMULATOR_HOST`.
        function_url: The function's URL.
        storage: A client of the storage.
        bucket: A bucket of this test.
    """

    name: str
    storage_url: str
    function_url: str
    storage: storage.Client
    bucket: str = ""


@dataclass(frozen=True)
class Stacks:
    """Both stacks, with a bucket of the same name."""

    real: Stack
    simulated: Stack

    def __iter__(self) -> Iterator[Stack]:
        return iter((self.real, self.simulated))


@pytest.fixture(scope="session")
def running_stacks(emulator: Emulator) -> Iterator[Stacks]:
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    env = {"PYTHONPATH": os.fspath(REPOSITORY), "HEARTBEAT_INTERVAL": str(HEARTBEAT_INTERVAL)}
    with ExitStack() as stack:
        real = stack.enter_context(run_function(FUNCTIONS / "many", emulator_url=emulator.url, env=env))
        simulated = stack.enter_context(
            run_simulated_platform(heartbeat_interval=HEARTBEAT_INTERVAL, cancel_poll_interval=0.2)
        )
        urls = {"real": (emulator.url, real.url), "simulated": (simulated.storage_url, simulated.function_url)}
        yield Stacks(
            **{
                name: Stack(name, storage_url, function_url, stack.enter_context(closing(storage_client(storage_url))))
                for name, (storage_url, function_url) in urls.items()
            }
        )


@pytest.fixture
def stacks(running_stacks: Stacks) -> Stacks:
    bucket = f"bucket-{uuid.uuid4().hex}"
    for stack in running_stacks:
        stack.storage.create_bucket(bucket)
    return Stacks(
        **{
            stack.name: Stack(stack.name, stack.storage_url, stack.function_url, stack.storage, bucket)
            for stack in running_stacks
        }
    )


@pytest.fixture(scope="session")
def running_platform() -> Iterator[SimulatedPlatform]:
    with run_simulated_platform(heartbeat_interval=HEARTBEAT_INTERVAL, cancel_poll_interval=0.2) as platform:
        yield platform


@pytest.fixture
def platform(running_platform: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch) -> SimulatedPlatform:
    """The simulated platform alone, with counts from zero and an empty bucket."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", running_platform.storage_url)
    running_platform.reset()
    return running_platform


@pytest.fixture
def make_client(platform: SimulatedPlatform) -> Callable[..., PipesCloudFunctionClient]:
    """Makes the resource, with short pauses, for a new bucket."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    platform.create_bucket(bucket)
    return partial(PipesCloudFunctionClient, bucket=bucket, retry_delay=0.05, drain_timeout=1)


@pytest.fixture
def client(make_client: Callable[..., PipesCloudFunctionClient]) -> PipesCloudFunctionClient:
    return make_client()
