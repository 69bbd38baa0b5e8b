"""The processes that a section of the benchmark needs."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks._dagster_side import Event, Implementation, Storage, Task
from dagster_gcf_pipes.local import FunctionServer, run_function, storage_client

FUNCTIONS: Final = Path(__file__).parent / "functions"
IMPLEMENTATIONS: Final[tuple[Implementation, ...]] = ("ours", "stock")


@dataclass(frozen=True)
class Functions:
    """The running functions, each in a process of its own."""

    ours: FunctionServer
    stock: FunctionServer
    plain: FunctionServer

    def task(
        self,
        implementation: Implementation,
        interval: float | None = None,
        storage: Storage = "memory",
        **events: Event,
    ) -> Task:
        """Return a run with an asset for each keyword, which calls the function with that event."""
        server: FunctionServer = getattr(self, implementation)
        return Task(implementation, server.url, bucket_of(implementation), events, interval=interval, storage=storage)


def bucket_of(implementation: Implementation) -> str:
    """The bucket of an implementation's messages. Each has its own, so that the path of a request names it."""
    return f"benchmark-{implementation}"


def create_buckets(storage_url: str) -> None:
    """Create the buckets of both implementations."""
    with closing(storage_client(storage_url)) as client:
        for implementation in IMPLEMENTATIONS:
            client.create_bucket(bucket_of(implementation))


@contextmanager
def run_functions(storage_url: str, *, threads: int = 8) -> Iterator[Functions]:
    """Run the functions of both implementations, and one without Pipes, while the block runs."""
    env = {"PYTHONPATH": os.fspath(FUNCTIONS.parents[1])}  # they import `benchmarks`
    with ExitStack() as stack:
        ours, stock, plain = (
            stack.enter_context(run_function(FUNCTIONS / name, emulator_url=storage_url, threads=threads, env=env))
            for name in ("ours", "stock", "plain")
        )
        yield Functions(ours, stock, plain)
