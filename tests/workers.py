"""Fresh Python processes for tests and benchmarks."""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress


@contextmanager
def run_worker(env: Mapping[str, str] | None = None) -> Iterator[Executor]:
    """Run a fresh Python process while the block runs, which takes one call at a time and prints nothing.

    Args:
        env: Environment variables, in addition to this process's own.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_prepare_worker, initargs=(env or {},)) as executor:
        pid = executor.submit(os.getpid)  # starts the process: its imports take seconds, in which others can start
        try:
            yield executor
        except (Exception, SystemExit):  # Ctrl-C reaches the process without this
            with suppress(BrokenProcessPool, ProcessLookupError):
                os.kill(pid.result(), signal.SIGINT)  # the call in progress may take minutes
            raise


def _prepare_worker(env: Mapping[str, str]) -> None:
    os.environ.update(env)
    warnings.simplefilter("ignore")
    # for the life of the process: Dagster writes each log line to one of them
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
