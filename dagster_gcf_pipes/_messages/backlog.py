"""Tells whether the reader of a session is behind its function."""

import time
from collections.abc import Callable
from typing import Final

BEHIND_AFTER: Final = 0.4
"""Seconds of reading without a pause after which the reader is behind, and of pause after which it no longer is.

In this time a function that goes on writing stores two chunks.
"""


class Backlog:
    """Tells whether the reader is behind.

    It is, once each poll has found a chunk for `BEHIND_AFTER` seconds. It no longer is, once no poll has found a chunk
    for as long. Otherwise it would catch up with a busy function for a moment, and fall behind again.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy_since = self._paused_since = clock()
        self._is_paused = True
        self._was_behind = False

    def chunk_found(self) -> None:
        """Note that a poll has found a chunk."""
        if self._is_paused:
            self._is_paused, self._busy_since = False, self._clock()
            self._was_behind = self._was_behind and self._busy_since < self._paused_since + BEHIND_AFTER

    def none_found(self) -> None:
        """Note that a poll has found none: the reader has handled all there is."""
        if not self._is_paused:
            self._was_behind = self.is_behind
            self._is_paused, self._paused_since = True, self._clock()

    @property
    def is_behind(self) -> bool:
        """Whether the reader is behind now."""
        return self._was_behind or (not self._is_paused and self._clock() >= self._busy_since + BEHIND_AFTER)
