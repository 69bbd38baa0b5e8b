"""The last log entries of an execution that ended without telling why, and what they say of its instance.

They explain a failure, and never cause one: where they cannot be read, there is a hint instead.
"""

import re
import time
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Final, NamedTuple

from dagster_gcf_pipes._log_query import LogScope, crash_filter, time_filter
from dagster_gcf_pipes._log_reader import LogLine, LogReader, LogReadingError, open_log_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials

INGESTION_TIMEOUT: Final = 10.0
"""Seconds for which entries are waited for: Cloud Logging shows them some seconds after they were written."""
CHECK_INTERVAL: Final = 5.0
"""Seconds between two reads of the log while a function gives no sign of life."""
_TERMINATED: Final = re.compile(
    r"Memory limit of .+ exceeded with .+ used|Container (?:terminated on signal|called exit)"
)
_CAUSES: Final = (
    (
        re.compile(r"Memory limit of .+ exceeded with .+ used"),
        "It ran out of memory",
        "deploy it with more memory (`--memory`), or process less data at once.",
    ),
    (
        re.compile(r"it has reached the maximum request timeout"),
        "It ran longer than its timeout",
        "deploy it with a longer timeout (`--timeout`, at most 3600 s), or give it less work.",
    ),
    (re.compile(r"Container (?:terminated on signal|called exit)"), "Its process died", ""),
)
"""What the platform logs when it ends a function. Source: https://cloud.google.com/run/docs/troubleshooting."""


class Cause(NamedTuple):
    """Why a function stopped.

    Attributes:
        text: A sentence, or an empty text.
        fix: What to do about it, in words that follow "Fix:", or an empty text.
    """

    text: str
    fix: str = ""


@dataclass(frozen=True)
class LogTail:
    """The last log entries of an scope.

    Attributes:
        lines: At most 50, the latest last.
        hint: Why there are none and what to do about it, or None.
    """

    lines: tuple[LogLine, ...] = ()
    hint: str | None = None

    @property
    def cause(self) -> Cause | None:
        """Why the function stopped, if the platform's log says so."""
        for pattern, text, fix in _CAUSES:
            if found := self._find(pattern):
                return Cause(f"{text} ({found}).", fix)
        return None

    @property
    def instance_terminated(self) -> bool:
        """Whether the platform says that it terminated the instance, or that its process ended."""
        return self._find(_TERMINATED) is not None

    def _find(self, pattern: re.Pattern[str]) -> str | None:
        return next((line.text for line in self.lines if line.from_platform and pattern.search(line.text)), None)

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines)) or (self.hint or "")


def fetch_log_tail(
    scope: LogScope,
    get_credentials: "Callable[[], Credentials | None]" = lambda: None,
    *,
    log_view: str | None = None,
    timeout: float = INGESTION_TIMEOUT,
) -> LogTail:
    """Fetch the last log entries of an execution that has ended, and what the platform logged of its instance.

    It reads until the platform says how the instance ended and nothing more comes with it, or the time is up.

    Args:
        scope: What to look for.
        get_credentials: Gives the credentials, or None for the environment's own.
        log_view: The full name of a log view to read them through, or None for the project's logs.
        timeout: Seconds for which entries are waited for; the last request may take 5 s more. Default 10.
    """
    if not scope.project:
        return LogTail(hint="The function's logs were not looked up: its URL does not tell its project.")
    try:
        with open_log_reader(scope.project, get_credentials, view=log_view) as reader:
            lines = _read_until_complete(reader, scope, timeout)
    except LogReadingError as error:
        return LogTail(hint=f"The function's last log entries could not be read: {error}")
    return LogTail(lines, None if lines else "Nothing of this execution is in the logs yet.")


class CrashWatch:
    """Asks the platform's log whether the instance of an execution was terminated.

    Args:
        get_scope: Gives what is known of the execution by now.
        get_credentials: Gives the credentials with which the log is read.
        log_view: The full name of a log view to read it through, or None for the project's logs.
    """

    def __init__(
        self,
        get_scope: "Callable[[], LogScope]",
        get_credentials: "Callable[[], Credentials | None]",
        *,
        log_view: str | None,
    ) -> None:
        self._get_scope = get_scope
        self._get_credentials = get_credentials
        self._log_view = log_view
        self._next_check = 0.0
        self._terminated = False

    def has_crashed(self) -> bool:
        """Whether the log says that the instance was terminated; it is read at most once in `CHECK_INTERVAL` seconds.

        Only what it says of this very instance counts: where the instance is not known, the answer is no.
        """
        scope = self._get_scope()
        known = scope.project and scope.service and scope.instance_id
        if known and not self._terminated and time.monotonic() >= self._next_check:
            tail = fetch_log_tail(scope, self._get_credentials, log_view=self._log_view, timeout=0)
            self._terminated = tail.instance_terminated
            self._next_check = time.monotonic() + CHECK_INTERVAL
        return self._terminated


def _read_until_complete(reader: LogReader, scope: LogScope, timeout: float) -> tuple[LogLine, ...]:
    """Read with growing pauses; what an earlier read has found survives a later one that fails."""
    filter_ = f"{time_filter(scope)}\n{crash_filter(scope)}"
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
