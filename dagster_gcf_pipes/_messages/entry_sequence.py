"""The entries of one session in the order of their numbers, whatever the order in which they arrive."""

from itertools import islice
from typing import Final

from dagster_gcf_pipes._messages.entry_api import Entry

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the entries that wait for an earlier one, or to be handled. The others are read again later."""
_OVERHEAD: Final = 200


class RanTwiceError(RuntimeError):
    """Two deliveries of the call have run."""


class EntrySequence:
    """Puts entries in order, each once, and says which are missing. It has no lock.

    Args:
        max_bytes: Bytes of the entries that may wait.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: dict[int, str] = {}
        self._bytes = 0
        self._first_entry: Entry | None = None
        self._next = 1
        self._missing = 1
        self._last = 0

    @property
    def next(self) -> int:
        """The number of the first entry that was not taken."""
        return self._next

    @property
    def first_missing(self) -> int:
        """The number of the first entry that has not arrived."""
        return self._missing

    @property
    def last(self) -> int:
        """The highest number that was seen, or 0."""
        return self._last

    @property
    def has_gap(self) -> bool:
        """Whether a later entry has arrived than the first missing one."""
        return self._last > self._missing

    @property
    def is_full(self) -> bool:
        """Whether no entry is kept, or only the first missing one if all others wait for it."""
        return self._bytes >= self._max_bytes

    @property
    def is_stuck(self) -> bool:
        """Whether no entry can be taken before the first missing one arrives."""
        return self._next == self._missing

    def add(self, entry: Entry) -> bool:
        """Keep an entry; return whether it is new and was kept.

        Raises:
            RanTwiceError: It is from another delivery of the call.
        """
        self._check_delivery(entry)
        number = entry.number
        self._last = max(self._last, number)
        is_needed = self.is_stuck and number == self._missing
        if number < self._missing or number in self._waiting or (self.is_full and not is_needed):
            return False
        self._waiting[number] = entry.data
        self._bytes += len(entry.data) + _OVERHEAD
        while self._missing in self._waiting:
            self._missing += 1
        return True

    def take(self) -> str:
        """Return the data of all entries before the first missing one, and forget them."""
        parts = [self._waiting.pop(number) for number in range(self._next, self._missing)]
        self._bytes -= sum(map(len, parts)) + _OVERHEAD * len(parts)
        self._next = self._missing
        return "".join(parts)

    def missing_until(self, last: int, *, most: int) -> tuple[int, ...]:
        """Return the numbers of the entries up to a number that have not arrived, at most so many."""
        missing = (number for number in range(self._missing, last + 1) if number not in self._waiting)
        return tuple(islice(missing, most))

    def _check_delivery(self, entry: Entry) -> None:
        first = self._first_entry
        if first is None:
            self._first_entry = entry
            return
        known = first.data if entry.number == first.number else self._waiting.get(entry.number, entry.data)
        if entry.delivery != first.delivery or entry.data != known:
            raise RanTwiceError(
                f"Expected the log entries of one execution, got those of two: deliveries {first.delivery!r} and "
                f"{entry.delivery!r} of one request both ran the function's code, in session {entry.session}. Through "
                "Cloud Logging a call has no claim, so nothing keeps a second delivery from running.\n"
                "Fix: Check what the function did twice. If it must run at most once, use `messages='bucket'`."
            )
