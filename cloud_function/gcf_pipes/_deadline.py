"""Gives operations an end that no connection, name look-up or slow sender can put off."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextvars import copy_context
from threading import Event, Thread
from typing import Final, TypeVar

from gcf_pipes._own_logs import own_logs

_Result = TypeVar("_Result")

GRACE: Final = 0.5
"""Seconds beyond the deadline in which an operation may say itself why it failed."""


class Deadline:
    """The time by which operations end.

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
            TimeoutError: None are.
        """
        remaining = self._end - time.monotonic()
        if remaining <= 0 or self._expired.is_set():
            raise TimeoutError(f"{self.timeout:g} s have passed")
        return remaining

    def sleep(self, delays: Iterator[float]) -> bool:
        """Sleep for the next delay, and return whether there is still time. If there will be none, return at once."""
        if self._expired.is_set():  # a thread that is left behind does nothing more, not even throw the dice of a delay
            return False
        delay = next(delays)
        return time.monotonic() + delay < self._end and not self._expired.wait(delay)

    def run(self, operations: Sequence[Callable[[], _Result]]) -> list[_Result]:
        """Run operations, each in a thread of its own, and return their results.

        Only a thread can be left behind: a socket's timeout bounds the time between two bytes, and nothing bounds a
        name look-up. The process does not wait for such a thread at its end, and the thread starts nothing more: when
        this returns or raises, for whatever reason, the deadline has passed.

        Raises:
            TimeoutError: An operation did not end by the deadline.
            Exception: The first that an operation raised.
        """
        futures = [_start(operation) for operation in operations]
        try:
            done, late = wait(futures, self.timeout + GRACE, return_when=FIRST_EXCEPTION)
        finally:
            self._expired.set()
        failed = [future for future in done if future.exception()]
        if late and not failed:
            raise TimeoutError(f"there was no answer within {self.timeout:g} s")
        return [future.result() for future in failed or futures]


def _start(operation: Callable[[], _Result]) -> "Future[_Result]":
    future: Future[_Result] = Future()
    context = copy_context()  # a trace goes on in the thread

    def work() -> None:
        try:
            future.set_result(context.run(_run_with_own_logs, operation))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            future.set_exception(error)

    Thread(target=work, name="gcf_pipes storage", daemon=True).start()
    return future


def _run_with_own_logs(operation: Callable[[], _Result]) -> _Result:
    with own_logs():
        return operation()
