"""Checks the arguments of `run_many` and `run_partitions`."""

import os
from collections.abc import Mapping
from logging import Logger
from typing import Any, Final

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

DEFAULT_MAX_CONCURRENCY: Final = 100
MAX_CONCURRENCY: Final = 10_000
MAX_KEY: Final = 500
"""Characters of a key."""
RESERVED_FILES: Final = 64
"""Files that the process may open beside those of the calls: connections to Cloud Storage, Dagster's storage, logs."""


def checked_events(events: object) -> Mapping[str, Any]:
    """Return the events of many calls.

    Raises:
        PipesCloudFunctionRequestError: They are not a mapping, or a key is not a text of one line.
    """
    if not isinstance(events, Mapping):
        raise PipesCloudFunctionRequestError(
            f"Expected `events` to be a mapping of keys to events, got {type(events).__name__}.\n"
            "Fix: Write `events={key: event for ...}`. The keys name the calls in the log and in the results."
        )
    for key in events:
        if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or not key.isprintable():
            raise PipesCloudFunctionRequestError(
                f"Expected each key of `events` to be one line of 1 to {MAX_KEY} characters, got {key!r:.100}."
            )
    return events


def checked_concurrency(value: object) -> int:
    """Return how many calls may be in flight.

    Raises:
        PipesCloudFunctionRequestError: It is no whole number, or out of its range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CONCURRENCY:
        raise PipesCloudFunctionRequestError(
            f"Expected `max_concurrency` to be 1 to {MAX_CONCURRENCY:,}, got {value!r:.100}."
        )
    return value


def within_file_limit(wanted: int, log: Logger) -> int:
    """Return how many calls may be in flight, because each needs an open file: its connection.

    Args:
        wanted: How many the user allows.
        log: Gets a warning if there are fewer.

    Raises:
        PipesCloudFunctionRequestError: The process can open no more files.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = limit - len(os.listdir("/dev/fd")) - RESERVED_FILES
    if limit == resource.RLIM_INFINITY or free >= wanted:
        return wanted
    problem = f"this process may open {limit:,} files (`ulimit -n`), and each call in flight needs one"
    fix = f"To make {wanted:,} calls at once, set the limit to {limit - free + wanted:,} or more."
    if free < 1:
        raise PipesCloudFunctionRequestError(f"Cannot make calls: {problem}.\nFix: {fix}")
    log.warning(f"[pipes] {problem}, so at most {free:,} calls run at once. {fix}")
    return free


def tolerated_failures(value: object, calls: int) -> int:
    """Return how many of so many calls may fail.

    Args:
        value: How many calls, or as a float below 1, which share of them.
        calls: How many calls there are.

    Raises:
        PipesCloudFunctionRequestError: It is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, float) and 0 <= value < 1:
        return int(value * calls)
    raise PipesCloudFunctionRequestError(
        "Expected `tolerate_failures` to be a whole number, or a share of all calls as a float below 1, got "
        f"{value!r:.100}.\nFix: Write 5 for five calls, and 0.05 for five percent."
    )
