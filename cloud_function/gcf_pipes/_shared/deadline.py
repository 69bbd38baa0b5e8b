"""Bounds the time of operations, however slow a connection, name lookup or sender is."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final, TypeVar

from gcf_pipes._shared.own_logs import own_logs

_Result = TypeVar("_Result")

GRACE: Final = 0.5
"""Seconds beyond the deadline in which an operation can still raise its own error."""
_MAX_IDLE: Final = 1.0
"""Seconds for which a thread waits for its next operation: to start one costs more than most operations."""


class Deadline:
    """The time by which operations must return.

    Args:
        timeout: Seconds from now on.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout
        self._expired = Event()

    @property
    def remaining(self) -> float:
        """Seconds that are left.

        Raises:
            TimeoutError: No time is left.
        """
        remaining = self._end - time.monotonic()
        if remaining <= 0 or self._expired.is_set():
            raise TimeoutError(f"{self.timeout:g} s have passed")
        return remaining

    def sleep(self, delays: Iterator[float]) -> bool:
        """Sleep for the next delay and return True; return False at once if too little time is left."""
        if self._expired.is_set():  # an abandoned thread does nothing more, not even draw a random delay
            return False
        delay = next(delays)
        return time.monotonic() + delay < self._end and not self._expired.wait(delay)

    def run(self, operation: Callable[[], _Result]) -> _Result:
        """Run an operation in a thread of its own and return its result.

        A socket's timeout bounds only the time between two bytes, and nothing bounds a name lookup. So an operation
        that takes too long is abandoned in its thread. The process does not wait for that thread when it exits. The
        thread starts nothing more: when this returns or raises, the deadline counts as passed.

        Raises:
            TimeoutError: The operation did not return by the deadline.
            Exception: What the operation raised.
        """
        return self.run_all([operation])[0]

    def run_all(self, operations: Sequence[Callable[[], _Result]]) -> list[_Result]:
        """Run several operations at once, as `run` does, and return their results.

        Raises:
            TimeoutError: An operation did not return by the deadline.
            Exception: The first error that an operation raised.
        """
        _ = self.remaining  # if there is none, no operation starts
        futures = [in_thread(operation) for operation in operations]
        try:
            done, late = wait(futures, self.timeout + GRACE, return_when=FIRST_EXCEPTION)
        finally:
            self._expired.set()
        failed = [future for future in done if future.exception()]
        if late and not failed:
            raise TimeoutError(f"there was no response within {self.timeout:g} s")
        return [future.result() for future in failed or futures]


def in_thread(operation: Callable[[], _Result]) -> "Future[_Result]":
    """Start an operation in a thread of its own, for which the process does not wait when it exits."""
    future: Future[_Result] = Future()
    context = copy_context()  # the thread continues the trace

    def work() -> None:
        try:
            future.set_result(context.run(_run_with_own_logs, operation))
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            future.set_exception(error)

    _threads.do(work)
    return future


def _run_with_own_logs(operation: Callable[[], _Result]) -> _Result:
    with own_logs():
        return operation()


class _Threads:
    """Daemon threads, each of which does one task at a time. A new one starts if none is idle."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], None]]] = []  # its methods are atomic
        if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
            os.register_at_fork(after_in_child=self._idle.clear)

    def do(self, task: Callable[[], None]) -> None:
        try:
            tasks = self._idle.pop()
        except IndexError:
            tasks = SimpleQueue()
            Thread(target=self._work, args=(tasks,), name="gcf_pipes storage", daemon=True).start()
        tasks.put(task)

    def _work(self, tasks: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            try:
                tasks.get(timeout=_MAX_IDLE)()
                self._idle.append(tasks)
            except Empty:
                try:
                    self._idle.remove(tasks)
                except ValueError:  # its next task is on its way
                    continue
                return


_threads: Final = _Threads()
