"""What a test function remembers of its calls, to compare with what Dagster shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypedDict


class Record(TypedDict):
    """The executions of the user's code for one key.

    Attributes:
        started: How often it was started.
        ended: How often it ran to its end.
        raised: How often it ended with an exception.
        lines: The lines that it logged, without an error, in order.
    """

    started: int
    ended: int
    raised: int
    lines: list[str]


_records: dict[str, Record] = {}
_lock = Lock()


@contextmanager
def recorded(key: str) -> Iterator[Record]:
    """Record one run of the user's code, which adds its lines itself."""
    with _lock:
        record = _records.setdefault(key, new_record())
        record["started"] += 1
    try:
        yield record
    except BaseException:
        with _lock:
            record["raised"] += 1
        raise
    with _lock:
        record["ended"] += 1


def record_of(key: str) -> Record:
    """Return what is recorded for a key, and forget it if nothing runs for it any more."""
    with _lock:
        record = _records.get(key, new_record())
        if record["started"] == record["ended"] + record["raised"]:
            _records.pop(key, None)
        return record


def new_record() -> Record:
    """Return a record of nothing."""
    return {"started": 0, "ended": 0, "raised": 0, "lines": []}
