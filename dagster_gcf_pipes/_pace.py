"""How many calls to make at once: the platform says only when there were too many.

The limit grows quickly while the platform takes every call, and halves when it refuses one. Then it grows back quickly
to nearly what the platform had taken. Beyond that it grows slowly at first, and faster the longer nothing is refused,
as that of TCP does (https://datatracker.ietf.org/doc/html/rfc9438).
"""

import random
from typing import Final

FIRST_LIMIT: Final = 50
DOUBLING_TIME: Final = 0.25
"""Seconds in which the limit doubles, as long as nothing was refused."""
ACCELERATION: Final = 0.004
"""The share of the limit that is added each second, for each second since the last refusal. So the limit is 5 % higher
after 5 seconds, and twice as high after 19.
"""
KNOWN_GOOD: Final = 0.95
"""The share of the calls that ran at a refusal up to which the limit grows back quickly."""
MAX_PAUSE: Final = 0.5
"""Seconds that starts pause at most after a refusal. The actual pause is random, so that callers spread."""


class Pace:
    """The number of calls that may be in flight. Times are those of `time.monotonic`.

    Args:
        most: The limit never exceeds this.
        now: The time.

    Attributes:
        refusals: How many calls the platform has refused.
        allowed: How many calls ran when the platform last refused one, or None.
    """

    def __init__(self, most: int, now: float) -> None:
        self.refusals = 0
        self.allowed: int | None = None
        self._most = most
        self._limit = float(min(FIRST_LIMIT, most))
        self._updated = now
        self._halved = now
        self._paused_until = now

    def limit(self, now: float) -> int:
        """Return how many calls may be in flight."""
        if now > self._updated:
            self._grow(now - self._updated)
            self._updated = now
        return 0 if now < self._paused_until else int(self._limit)

    def refused(self, started: float, running: int, now: float) -> None:
        """Note that the platform has refused a call.

        Args:
            started: When the call was made. Of all refused calls that were made before the limit was last halved, only
                the first counts.
            running: How many other calls run.
            now: The time.
        """
        self.refusals += 1
        if started < self._halved and self.allowed is not None:
            self.allowed = max(1, min(self.allowed, running))
            return
        self._grow(max(now - self._updated, 0))
        self.allowed = max(1, running)
        self._limit = max(1.0, min(self._limit, running) / 2)
        self._updated = self._halved = now
        self._paused_until = now + random.uniform(0.1, 1) * MAX_PAUSE  # noqa: S311 - it spreads callers, and is not a secret

    def _grow(self, seconds: float) -> None:
        known_good = self._most if self.allowed is None else KNOWN_GOOD * self.allowed
        if self._limit < known_good:
            self._limit = min(self._limit * 2 ** (seconds / DOUBLING_TIME), known_good)
        else:
            since = self._updated + seconds / 2 - self._halved
            self._limit += ACCELERATION * since * self._limit * seconds
        self._limit = min(self._limit, self._most)
