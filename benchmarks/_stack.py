"""The processes that a section of the benchmark needs."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import requests

from benchmarks._dagster_side import Event, Storage, Task
from local_stack.functions import FunctionServer, run_function

FUNCTIONS: Final = Path(__file__).parent / "functions"
Pair = Literal["ours", "stock"]
PAIRS: Final[tuple[Pair, ...]] = ("ours", "stock")


@dataclass(frozen=True)
class Functions:
    """The running functions, each in a process of its own."""

    ours: FunctionServer
    stock: FunctionServer
    plain: FunctionServer

    def task(self, pair: Pair, interval: float | None = None, storage: Storage = "memory", **events: Event) -> Task:
        """A run of a pair that calls its function once for each keyword, the name of an asset, with that event."""
        server: FunctionServer = getattr(self, pair)
        return Task(pair, server.url, bucket_of(pair), events, interval=interval, storage=storage)


def bucket_of(pair: Pair) -> str:
    """The bucket of a pair's messages; each has its own so that its requests can be told by their path."""
    return f"benchmark-{pair}"


def create_buckets(storage_url: str) -> None:
    """Create the buckets of both pairs."""
    for pair in PAIRS:
        requests.post(
            f"{storage_url}/storage/v1/b", params={"project": "p"}, json={"name": bucket_of(pair)}, timeout=10
        )


@contextmanager
def run_functions(storage_url: str, *, threads: int = 8) -> Iterator[Functions]:
    """Run the functions of both pairs, and the one without Pipes, while the block runs."""
    with ExitStack() as stack:
        ours, stock, plain = (
            stack.enter_context(run_function(FUNCTIONS / name / "main.py", emulator_url=storage_url, threads=threads))
            for name in ("ours", "stock", "plain")
        )
        yield Functions(ours, stock, plain)


@contextmanager
def run_dagster_process(storage_url: str) -> Iterator[Executor]:
    """Run a fresh process for Dagster's side while the block runs.

    Each pair gets its own, so that nothing that one of them sets in its process has an effect on the other.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_initialize, initargs=(storage_url,)) as executor:
        pid = executor.submit(os.getpid)  # starts the process: its imports take seconds, in which others can start
        try:
            yield executor
        except (Exception, SystemExit):  # Ctrl-C reaches the process without this
            with suppress(BrokenProcessPool, ProcessLookupError):
                os.kill(pid.result(), signal.SIGINT)  # the run under way may take minutes more
            raise


def _initialize(storage_url: str) -> None:
    os.environ["STORAGE_EMULATOR_HOST"] = storage_url
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - Dagster writes each line of its log there, as it does by default
