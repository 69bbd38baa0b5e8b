"""A function and its bucket, with a fault proxy on each connection."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function, storage_client
from tests.faults.plan import Fault
from tests.faults.proxy import FaultProxy

Link = Literal["writer", "reader", "call"]
"""The connections: function to bucket, Dagster to bucket, Dagster to function."""
FUNCTIONS: Final = Path(__file__).parents[1] / "functions"
ONE_MESSAGE_PER_CHUNK: Final = FUNCTIONS / "one_message_per_chunk" / "main.py"


@dataclass(frozen=True)
class ProxiedStack:
    """The running function, and its proxies.

    Attributes:
        function: The function, without a proxy.
        links: The proxies.
        bucket: The name of its bucket.
        storage_client: A client of the emulator, without a proxy.
    """

    function: FunctionServer
    links: dict[Link, FaultProxy]
    bucket: str
    storage_client: storage.Client


@contextmanager
def serve_python(source: Path, storage_url: str) -> Iterator[FunctionServer]:
    """Run a function in Python while the block runs."""
    env = {"PYTHONPATH": os.fspath(FUNCTIONS.parents[1])}  # the functions import `tests`
    with run_function(source, emulator_url=storage_url, env=env) as server:
        yield server


@contextmanager
def run_proxied_stack(
    emulator: Emulator,
    source: Path = ONE_MESSAGE_PER_CHUNK,
    plans: Mapping[Link, Sequence[Fault]] | None = None,
    serve: Callable[[Path, str], AbstractContextManager[FunctionServer]] = serve_python,
) -> Iterator[ProxiedStack]:
    """Run a function with its proxies and a new bucket while the block runs.

    Args:
        emulator: The Cloud Storage emulator.
        source: The file with the function.
        plans: The fault plans of the proxies.
        serve: Runs the function while a block runs, with the URL of the storage.
    """
    plans = plans or {}
    with ExitStack() as stack:
        enforce = not emulator.honours_preconditions
        writer = stack.enter_context(FaultProxy(emulator.url, plans.get("writer", ()), enforce_preconditions=enforce))
        reader = stack.enter_context(FaultProxy(emulator.url, plans.get("reader", ())))
        function = stack.enter_context(serve(source, writer.url))
        call = stack.enter_context(FaultProxy(function.url, plans.get("call", ())))
        client = stack.enter_context(closing(storage_client(emulator.url)))
        bucket = f"bucket-{uuid.uuid4().hex}"
        client.create_bucket(bucket)
        yield ProxiedStack(function, {"writer": writer, "reader": reader, "call": call}, bucket, client)


class ProxiedClient(PipesCloudFunctionClient):
    """Reaches its bucket through a proxy."""

    api_endpoint: str

    def get_storage_client(self) -> storage.Client:
        return storage_client(self.api_endpoint)
