"""Reads the log entries of many sessions of one project in Cloud Logging.

A thread lists the entries that have not arrived, of all sessions with one filter. Another follows the log live, where
that is allowed. Both hand over what they find, so an entry may arrive twice, and in any order.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta, timezone
from threading import Condition, Event, Lock, Thread
from typing import TYPE_CHECKING, Final

from dagster_gcf_pipes._messages.entry_api import (
    MAX_PAGE,
    Entry,
    EntryApi,
    EntryReadError,
    EntryTail,
    PageTooLargeError,
    TailEndedError,
)
from dagster_gcf_pipes._messages.entry_pace import READ_INTERVAL, pace_of

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from dagster_gcf_pipes._messages.entry_session import EntrySession

LIVE_INTERVAL: Final = 10.0
"""Seconds between two lists while the log is followed live and nothing is known to be missing."""
RETRY_DELAY: Final = 1.0
MAX_RETRY_DELAY: Final = 16.0
"""Seconds until the next list after one has failed, and after several at most."""
TAIL_RETRY_DELAY: Final = 1.0
MAX_TAIL_RETRY_DELAY: Final = 60.0
"""Seconds until the log is followed again, at first and at most."""
MAX_ROUND_PAGES: Final = 20
"""Pages after which a round of lists starts again, so that it asks for new sessions too."""
SESSIONS_PER_FILTER: Final = 100
"""A filter may have 20,000 characters. Source: https://cloud.google.com/logging/quotas."""
CLOCK_SKEW: Final = timedelta(minutes=1)
_LOG: Final = 'resource.type="cloud_run_revision" AND log_id("run.googleapis.com/stdout")'


class EntryReader:
    """Reads the entries of sessions while there are any.

    The ids of its sessions start alike, so that one filter follows them all, also those to come.

    Args:
        api: Cloud Logging.
    """

    def __init__(self, api: EntryApi) -> None:
        self.project = api.project
        self.source = api.source
        self._api = api
        self._pace = pace_of(api.project)
        self._prefix = secrets.token_hex(8)
        self._sessions: dict[str, EntrySession] = {}
        self._changed = Condition()
        self._lister: Thread | None = None
        self._tailer: _Tailer | None = None
        self._may_tail = True
        self._left_out = False
        self._page_size = MAX_PAGE
        self._retry_delay = 0.0
        self._listed_at = 0.0

    def new_session_id(self) -> str:
        """Return the id of a new session."""
        return self._prefix + secrets.token_hex(8)

    def add(self, session: "EntrySession") -> None:
        """Read the entries of a session from now on."""
        with self._changed:
            self._sessions[session.id] = session
            if self._lister:
                return
            self._lister = Thread(target=self._list_until_idle, name="pipes log entries", daemon=True)
            self._lister.start()
            if self._may_tail:
                self._tailer = _Tailer(self, self._api, f'jsonPayload.dagster_pipes.session:"{self._prefix}"')

    def remove(self, session: "EntrySession") -> None:
        """Read no more entries of a session."""
        with self._changed:
            self._sessions.pop(session.id, None)
            self._changed.notify_all()

    def nudge(self) -> None:
        """Look whether a session needs a list now."""
        with self._changed:
            self._changed.notify_all()

    def deliver(self, entries: Iterable[Entry], *, left_out: bool = False) -> None:
        """Hand entries to their sessions.

        Args:
            entries: The entries.
            left_out: Whether others are known to be missing.
        """
        by_session: dict[str, list[Entry]] = {}
        for entry in entries:
            by_session.setdefault(entry.session, []).append(entry)
        with self._changed:
            self._left_out = self._left_out or left_out
            known = [(self._sessions[name], own) for name, own in by_session.items() if name in self._sessions]
        for session, own in known:
            session.take_entries(own)
        self.nudge()

    def forbid_tail(self) -> None:
        """Follow the log no more: it is not allowed."""
        self._may_tail = False

    def _list_until_idle(self) -> None:
        while self._wait_until_due():
            started = time.monotonic()
            for batch in self._batches():
                self._list_pages(batch)
            self._listed_at = started

    def _wait_until_due(self) -> bool:
        """Wait until a list is due. Return no if there are no sessions any more; the threads then end."""
        is_live = self._tailer is not None and self._tailer.is_live
        due_at = self._listed_at + (LIVE_INTERVAL if is_live else READ_INTERVAL) + self._retry_delay
        with self._changed:
            self._changed.wait_for(lambda: not self._sessions or self._is_urgent, max(0.0, due_at - time.monotonic()))
            if self._sessions:
                self._left_out = False
                return True
            self._lister = None
            tailer, self._tailer = self._tailer, None
        if tailer:
            tailer.stop()
        return False

    @property
    def _is_urgent(self) -> bool:
        """Whether entries are known to be missing, and a list may find them."""
        return not self._retry_delay and (self._left_out or any(each.is_urgent for each in self._sessions.values()))

    def _batches(self) -> "Iterator[list[EntrySession]]":
        with self._changed:
            sessions = [session for session in self._sessions.values() if session.term]
        for start in range(0, len(sessions), SESSIONS_PER_FILTER):
            yield sessions[start : start + SESSIONS_PER_FILTER]

    def _list_pages(self, sessions: "list[EntrySession]") -> None:
        filter_, token = _filter(sessions), ""
        for _ in range(MAX_ROUND_PAGES):
            if not self._wait_for_turn():
                return
            started = time.monotonic()
            try:
                page = self._api.list_page(filter_, token=token, size=self._page_size)
            except PageTooLargeError:
                self._page_size = max(1, self._page_size // 4)  # an entry has 256 KiB at most
                return
            except EntryReadError as error:
                self._note_failure(error, sessions)
                return
            self._pace.note_success()
            self._retry_delay = 0.0
            self.deliver(page.entries)
            token = page.next_token
            if not token:
                for session in sessions:
                    session.note_list(started)
                return

    def _wait_for_turn(self) -> bool:
        """Wait for the turn to read. Return no if there are no sessions any more."""
        seconds = self._pace.take_turn()
        with self._changed:
            self._changed.wait_for(lambda: not self._sessions, seconds)
            return bool(self._sessions)

    def _note_failure(self, error: EntryReadError, sessions: "list[EntrySession]") -> None:
        if error.over_quota:
            self._pace.note_refusal()
        else:
            self._retry_delay = min(MAX_RETRY_DELAY, max(RETRY_DELAY, 2 * self._retry_delay))
        for session in sessions:
            session.note_failed_list(error)


class EntryReaders:
    """The readers of a resource, one for each place in which its functions' messages are."""

    def __init__(self) -> None:
        self._readers: dict[str, EntryReader] = {}
        self._lock = Lock()

    def get(
        self, project: str, get_credentials: "Callable[[], Credentials | None]", *, view: str | None
    ) -> EntryReader:
        """Return the reader of a project, or of a log view.

        Args:
            project: The project's ID or number.
            get_credentials: Returns the credentials, or None for the environment's own.
            view: The full name of the log view, or None.
        """
        api = EntryApi(project, get_credentials, view=view)
        with self._lock:
            return self._readers.setdefault(api.source, EntryReader(api))


class _Tailer:
    """Follows the log in a thread of its own, until it is stopped or not allowed to."""

    def __init__(self, reader: EntryReader, api: EntryApi, filter_: str) -> None:
        self._reader = reader
        self._api = api
        self._filter = f"{_LOG} AND {filter_}"
        self._stopped = Event()
        self._tail: EntryTail | None = None
        self._is_live = False
        Thread(target=self._follow_until_stopped, name="pipes log tail", daemon=True).start()

    @property
    def is_live(self) -> bool:
        """Whether entries arrive this way now."""
        return self._is_live

    def stop(self) -> None:
        """End the stream."""
        self._stopped.set()
        if tail := self._tail:
            tail.close()

    def _follow_until_stopped(self) -> None:
        delay = TAIL_RETRY_DELAY
        while not self._stopped.is_set():
            try:
                self._follow()
            except TailEndedError as error:
                if not error.allowed:
                    self._reader.forbid_tail()
                    return
                was_live, self._is_live = self._is_live, False
                delay = TAIL_RETRY_DELAY if was_live else min(2 * delay, MAX_TAIL_RETRY_DELAY)
                self._reader.nudge()
                self._stopped.wait(MAX_TAIL_RETRY_DELAY if error.full else delay)

    def _follow(self) -> None:
        tail = self._tail = self._api.open_tail(self._filter)
        try:
            if self._stopped.is_set():
                return
            for entries, left_out in tail.responses():
                self._is_live = True
                self._reader.deliver(entries, left_out=left_out)
        finally:
            tail.close()


def _filter(sessions: "list[EntrySession]") -> str:
    earliest = min(session.started for session in sessions) - CLOCK_SKEW
    timestamp = earliest.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f'{_LOG} AND timestamp>="{timestamp}" AND ({" OR ".join(session.term for session in sessions)})'
