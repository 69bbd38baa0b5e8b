"""Reads the last log entries of an execution that ended unexplained, and what they say about its instance.

If the entries cannot be read, the log tail contains a hint, and no error is raised.
"""

import re
import time
from dataclasses import dataclass
from itertools import count
from threading import BoundedSemaphore, Event
from typing import TYPE_CHECKING, Final, NamedTuple

from dagster_gcf_pipes._log_query import LogScope, crash_filter, time_filter
from dagster_gcf_pipes._logging_api import LogLine, LogReader, LogReadingError, open_log_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.auth.credentials import Credentials

INGESTION_DEADLINE: Final = 10.0
"""Seconds to wait for entries. Cloud Logging shows them some seconds after they were written."""
CHECK_INTERVAL: Final = 5.0
"""Seconds between two reads of the log while a function is silent."""
PARALLEL_READS: Final = 4
"""Log tails that are read at once. Each takes up to ten seconds."""
_TERMINATED: Final = re.compile(
    r"Memory limit of .+ exceeded with .+ used|Container (?:terminated on signal|called exit)"
)
MEMORY_FIX: Final = "Deploy it with more memory (`--memory`), or process less data at once."
_CAUSES: Final = (
    (
        re.compile(r"Memory limit of .+ exceeded with .+ used"),
        "It ran out of memory",
        MEMORY_FIX,
    ),
    (
        re.compile(r"it has reached the maximum request timeout"),
        "It ran longer than its timeout",
        "Deploy it with a longer timeout (`--timeout`, at most 3600 s), or give it less work.",
    ),
    (re.compile(r"Container (?:terminated on signal|called exit)"), "Its process died", ""),
)
"""What the platform logs when it stops a function, and the cause. Source: https://cloud.google.com/run/docs/troubleshooting."""


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
    """The last log entries of an execution.

    Attributes:
        lines: At most 50, oldest first.
        hint: Why there are none, and what to do about it, or None.
    """

    lines: tuple[LogLine, ...] = ()
    hint: str | None = None

    @property
    def cause(self) -> Cause | None:
        """Why the function stopped, if the platform's log says so."""
        for pattern, text, fix in _CAUSES:
            if found := self._find(pattern):
                return Cause(f'{text}. The log says: "{found}"', fix)
        return None

    @property
    def instance_terminated(self) -> bool:
        """Whether the platform logged that it terminated the instance, or that its process exited."""
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
    timeout: float = INGESTION_DEADLINE,
) -> LogTail:
    """Fetch the last log entries of an execution that has ended, and the platform's warnings about its instance.

    Reads until there is an entry of the platform and a further read finds nothing new, or until the timeout.

    Args:
        scope: The execution.
        get_credentials: Returns the credentials, or None for the environment's own.
        log_view: The full name of the log view to read, or None for the project's logs.
        timeout: Seconds to wait for entries. The last request may take 5 s more. Default 10.
    """
    if not scope.project:
        return LogTail(hint="The function's logs were not read, because its URL does not contain its project.")
    try:
        with open_log_reader(scope.project, get_credentials, view=log_view) as reader:
            lines = _read_until_complete(reader, scope, timeout)
    except LogReadingError as error:
        return LogTail(hint=f"The function's last log entries could not be read: {error}")
    return LogTail(lines, None if lines else "The logs have no entries of this execution yet.")


class CrashLogs:
    """The logs of functions that crashed, read with the settings of a resource. Thread-safe.

    Args:
        get_credentials: Returns the credentials for reading the log.
        log_view: The full name of the log view to read, or None for the project's logs.
        most_reads: How many log tails are read at most, and how many checks are made at most, or None. The API allows
            60 reads a minute for a project. Source: https://cloud.google.com/logging/quotas#api-limits.
    """

    def __init__(
        self,
        get_credentials: "Callable[[], Credentials | None]",
        *,
        log_view: str | None,
        most_reads: int | None = None,
    ) -> None:
        self._get_credentials = get_credentials
        self._log_view = log_view
        self._most_reads = most_reads
        self._tails, self._checks = count(), count()
        self._reading = BoundedSemaphore(PARALLEL_READS)

    def fetch_tail(self, scope: LogScope) -> LogTail:
        """Fetch the last log entries of an execution, unless too many were read already."""
        if self._is_too_many(self._tails):
            return LogTail(hint=f"The logs were not read: they were for {self._most_reads} other calls of this step.")
        with self._reading:
            return fetch_log_tail(scope, self._get_credentials, log_view=self._log_view)

    def check(self, scope: LogScope) -> LogTail:
        """Read the log entries so far of an execution, unless that was done too often already."""
        if self._is_too_many(self._checks):
            return LogTail()
        return fetch_log_tail(scope, self._get_credentials, log_view=self._log_view, timeout=0)

    def _is_too_many(self, reads: "Iterator[int]") -> bool:
        return self._most_reads is not None and next(reads) >= self._most_reads


class CrashWatch:
    """Checks in the platform's log whether an execution's instance was terminated.

    Args:
        get_scope: Returns what is known about the execution so far.
        logs: The logs.
    """

    def __init__(self, get_scope: "Callable[[], LogScope]", logs: CrashLogs) -> None:
        self._get_scope = get_scope
        self._logs = logs
        self._next_check = 0.0
        self._terminated = False

    def has_crashed(self) -> bool:
        """Whether the log says that the instance was terminated. Reads it at most once in `CHECK_INTERVAL` seconds.

        Returns False while the instance is not known.
        """
        scope = self._get_scope()
        known = scope.project and scope.service and scope.instance_id
        if known and not self._terminated and time.monotonic() >= self._next_check:
            tail = self._logs.check(scope)
            self._terminated = tail.instance_terminated
            self._next_check = time.monotonic() + CHECK_INTERVAL
        return self._terminated


def _read_until_complete(reader: LogReader, scope: LogScope, timeout: float) -> tuple[LogLine, ...]:
    """Read with growing pauses. If a later read fails, return the entries of an earlier one."""
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
        complete = lines == before and any(line.from_platform for line in lines)
        if complete or (failure and not failure.retryable) or time.monotonic() + pause > deadline:
            break
        Event().wait(pause)
    if failure and not lines:
        raise failure
    return lines
