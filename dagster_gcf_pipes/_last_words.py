"""The last log entries of an execution that ended without a word.

They explain a failure, and are never one themselves: where they cannot be had, there is a hint instead.
"""

import re
import time
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Final

from dagster_gcf_pipes._execution import Execution, crash_filter, time_filter
from dagster_gcf_pipes._log_reader import LogLine, LogReader, LogReadingError, open_log_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials

INGESTION_TIMEOUT: Final = 10.0
"""Seconds for which entries are waited for: Cloud Logging shows them some seconds after they were written."""
_CAUSES: Final = (
    (
        re.compile(r"Memory limit of .+ exceeded with .+ used"),
        "it ran out of memory. Deploy it with more (`--memory`), or let it hold less at a time",
    ),
    (
        re.compile(r"it has reached the maximum request timeout"),
        "it ran longer than its timeout. Deploy it with a longer one (`--timeout`, at most 3600 s), or let it do less",
    ),
    (re.compile(r"Container (?:terminated on signal|called exit)"), "its process died"),
)
"""What the platform logs when it ends a function. Source: https://cloud.google.com/run/docs/troubleshooting."""


@dataclass(frozen=True)
class LastWords:
    """The last log entries of an execution.

    Attributes:
        lines: At most 50, the latest last.
        hint: Why there are none and what to do about it, or None.
    """

    lines: tuple[LogLine, ...] = ()
    hint: str | None = None

    @property
    def cause(self) -> str | None:
        """Why the platform says that the function ended, with what to do about it, or None if it does not say."""
        said = [line.text for line in self.lines if line.from_platform]
        for pattern, cause in _CAUSES:
            if found := next((text for text in said if pattern.search(text)), None):
                return f"{cause} ({found})"
        return None

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines)) or (self.hint or "")


def fetch_last_words(
    execution: Execution,
    get_credentials: "Callable[[], Credentials | None]" = lambda: None,
    *,
    log_view: str | None = None,
    timeout: float = INGESTION_TIMEOUT,
) -> LastWords:
    """Fetch the last log entries of an execution that has ended, and what the platform logged of its instance.

    It looks until the platform's own word of the end has come and nothing more comes with it, or the time is up.

    Args:
        execution: What to look for.
        get_credentials: Gives the credentials, or None for the environment's own.
        log_view: The full name of a log view to read them through, or None for the project's logs.
        timeout: Seconds for which entries are waited for; the last request may take 5 s more. Default 10.
    """
    if not execution.project:
        return LastWords(hint="The function's logs were not looked up: its URL does not tell its project.")
    try:
        with open_log_reader(execution.project, get_credentials, view=log_view) as reader:
            lines = _look_until_settled(reader, execution, timeout)
    except LogReadingError as error:
        return LastWords(hint=f"The function's last log entries could not be read: {error}")
    return LastWords(lines, None if lines else "Nothing of this execution is in the logs yet.")


def _look_until_settled(reader: LogReader, execution: Execution, timeout: float) -> tuple[LogLine, ...]:
    """Look with growing pauses; what an earlier look has found survives a later one that fails."""
    filter_ = f"{time_filter(execution)}\n{crash_filter(execution)}"
    deadline = time.monotonic() + timeout
    lines: tuple[LogLine, ...] = ()
    failure: LogReadingError | None = None
    for pause in count(1):
        before = lines
        try:
            lines, failure = reader.read_latest(filter_), None
        except LogReadingError as error:
            failure = error
        settled = lines == before and any(line.from_platform for line in lines)
        if settled or (failure and failure.final) or time.monotonic() + pause > deadline:
            break
        Event().wait(pause)
    if failure and not lines:
        raise failure
    return lines
