"""Run something in a thread, and wait for something to happen."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Thread
from typing import TypeVar

from dagster_gcf_pipes._cleanup import THREAD_NAME as CLEANUP_THREAD

Value = TypeVar("Value")


def in_background(function: Callable[[], Value]) -> "Future[Value]":
    """Call a function in a daemon thread; return a future of its result."""
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            future.set_exception(error)

    Thread(target=work, name="run", daemon=True).start()
    return future


def wait_for_cleanup() -> None:
    """Wait until the messages of the runs so far are deleted: Dagster does so in the background."""
    for thread in threading.enumerate():
        if thread.name == CLEANUP_THREAD:
            thread.join()


def wait_until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: It does not hold in time.
    """
    deadline = time.monotonic() + timeout
    pause = Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition did not hold within {timeout:g} s")
        pause.wait(0.1)
