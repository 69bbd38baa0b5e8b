"""Records what a function did for each key, for tests that compare it with what Dagster shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypedDict

import flask


class Record(TypedDict):
    """What the user's code did for one key.

    Attributes:
        started: How often it was started.
        ended: How often it ran to its end.
        raised: How often it ended with an exception.
        lines: What it logged and reported, in order.
    """

    started: int
    ended: int
    raised: int
    lines: list[str]


_records: dict[str, Record] = {}
_lock = Lock()


@contextmanager
def recorded(key: str) -> Iterator[Record]:
    """Record one run of the user's code in the block, which adds its lines itself."""
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


def with_records(function: Callable[[flask.Request], Any]) -> Callable[[flask.Request], Any]:
    """Return a function that also returns the record of a key to a request `{"asked": key}`."""

    def main(request: flask.Request) -> Any:
        event = request.get_json()
        return _take_record(event["asked"]) if "asked" in event else function(request)

    return main


def _take_record(key: str) -> Record:
    """Return the record of a key, and forget it if nothing runs for the key."""
    with _lock:
        record = _records.get(key, new_record())
        if record["started"] == record["ended"] + record["raised"]:
            _records.pop(key, None)
        return record


def new_record() -> Record:
    """Return an empty record."""
    return {"started": 0, "ended": 0, "raised": 0, "lines": []}
