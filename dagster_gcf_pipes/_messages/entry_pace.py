"""The pace of a process's reads of Cloud Logging, which allows a project 60 a minute, whoever makes them."""

import random
import time
from threading import Lock
from typing import Final

READ_INTERVAL: Final = 2.0
"""Seconds between two reads of a project: half of what the quota allows, so that another process has the other half.

Source: https://cloud.google.com/logging/quotas ("entries.list").
"""
MAX_PAUSE: Final = 60.0
"""Seconds without a read after the quota was exceeded, at most. It is counted by the minute."""


class ReadPace:
    """Says when the next read may be. All readers of a project share one, and whoever reads takes a turn.

    After a response that the quota is exceeded, the pause doubles until a read succeeds. Its length is random, so that
    several processes do not meet again.

    Args:
        interval: Seconds between two reads.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next_at = 0.0
        self._pause = 0.0
        self._lock = Lock()

    def take_turn(self) -> float:
        """Take the next turn, and return how many seconds it is away."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next_at)
            self._next_at = at + self._interval
            return at - now

    def note_success(self) -> None:
        """Note that a read was within the quota."""
        with self._lock:
            self._pause = 0.0

    def note_refusal(self) -> None:
        """Note that a read exceeded the quota."""
        with self._lock:
            self._pause = min(MAX_PAUSE, max(2 * self._pause, 2 * self._interval))
            pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - not for cryptography
            self._next_at = max(self._next_at, time.monotonic() + pause)


_paces: Final[dict[str, ReadPace]] = {}
_lock: Final = Lock()


def pace_of(project: str) -> ReadPace:
    """Return the pace of a project, which all readers of this process share."""
    with _lock:
        return _paces.setdefault(project, ReadPace(READ_INTERVAL))
