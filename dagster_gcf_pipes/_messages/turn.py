"""A thread's turn to fetch chunks of one of many sessions."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from gcf_pipes._shared.deadline import GRACE


class Turn:
    """A thread's turn to fetch chunks of a session. It loses the turn if a chunk does not arrive in time.

    The timeout of a socket bounds only the time between two bytes, and nothing bounds a name lookup.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ends = math.inf
        self._lost = False

    @contextmanager
    def fetching(self, timeout: float) -> Iterator[None]:
        """Have so many seconds for the block."""
        self._ends = time.monotonic() + timeout + GRACE
        try:
            yield
        finally:
            with self._lock:
                self._ends = math.inf

    def is_lost(self) -> bool:
        """Whether a block took too long."""
        with self._lock:
            self._lost = self._lost or time.monotonic() > self._ends
            return self._lost
