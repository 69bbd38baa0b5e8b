"""Reads the messages of many sessions below one prefix.

A list of the prefix tells which chunks are new, and a response tells how many chunks its session has. A few threads
fetch them. So the number of requests depends on the number of chunks, and not on how long the functions run.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Condition, Lock, Thread
from typing import Final

from gcf_pipes._shared.pages import Page
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._messages.chunk_stream import READ_TIMEOUT
from dagster_gcf_pipes._messages.log_entries import LogEntries, MessageHandlingError
from dagster_gcf_pipes._messages.shared_session import SharedSession
from dagster_gcf_pipes._messages.turn import Turn
from dagster_gcf_pipes._workers import Workers

LIST_INTERVAL: Final = 1.0
"""Seconds from the start of one round of lists to the next."""
PAGE_INTERVAL: Final = 0.5
"""Seconds between two pages of a round. A page has 1,000 names, so a round of many sessions takes several."""
PARALLEL_READS: Final = 16
"""Chunks that are fetched at once. Most have less than a mebibyte."""
MAX_CONNECTIONS: Final = 64
"""Connections to Cloud Storage: for chunks and lists, and for what the steps of the calls read and write."""
STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the thread that lists. It is a daemon, and ends by itself."""


class SharedReader:
    """Reads the messages of many sessions, while `reading` lasts.

    Args:
        store: The bucket.
        root: The prefix above all sessions.
        entries: Hands the log lines of all sessions to Dagster.
        handling: Held while messages are handed to Dagster, which then gets one after another.

    Attributes:
        failure: The error because of which Dagster lacks log lines of several sessions, or None.
    """

    def __init__(self, store: ObjectStore, root: SessionPrefix, entries: LogEntries, handling: Lock) -> None:
        self.store = store
        self.root = root
        self._sessions: dict[str, SharedSession] = {}
        self._changed = Condition()
        self._handling = handling
        self.entries = entries
        self._fetchers = Workers(f"pipes reader {root.uri}", PARALLEL_READS)
        self._stopped = False
        self.failure: MessageHandlingError | None = None

    @property
    def stopped(self) -> bool:
        """Whether nobody waits for messages any more."""
        return self._stopped

    @property
    def is_behind(self) -> bool:
        """Whether there are chunks that no thread fetches yet."""
        return self._fetchers.are_busy

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read while the block runs."""
        self.store.use_connections(MAX_CONNECTIONS)
        lister = Thread(target=self._list_until_stopped, name=f"pipes list {self.root.uri}", daemon=True)
        lister.start()
        try:
            yield
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            self._fetchers.stop()
            lister.join(STOP_TIMEOUT)
            self._hand_on_kept_lines()

    def add(self, session: SharedSession) -> None:
        """Read the messages of a session from now on."""
        with self._changed:
            self._sessions[session.object_prefix] = session

    def remove(self, session: SharedSession) -> None:
        """Read no more messages of a session."""
        with self._changed:
            self._sessions.pop(session.object_prefix, None)

    def read_on(self, session: SharedSession) -> None:
        """Fetch what is known to be there and has not been fetched, unless a thread does so already."""
        with self._changed:
            if session.turn or session.ended or not session.has_work:
                return
            turn = session.turn = Turn()
        self._fetchers.do(lambda: self._read(session, turn))

    def _read(self, session: SharedSession, turn: Turn) -> None:
        session.read(turn, self._handling)
        if not self.is_behind:  # otherwise another thread does it, or the one that lists
            self._hand_on_kept_lines()
        self._end_turn(session, turn)  # and look again, in case there was news meanwhile

    def _end_turn(self, session: SharedSession, turn: Turn) -> None:
        with self._changed:
            if session.turn is not turn:
                return
            session.turn = None
        self.read_on(session)

    def _replace_late_threads(self) -> None:
        """Let other threads fetch the chunks for which a thread has waited too long."""
        with self._changed:
            sessions = [*self._sessions.values()]
        for session in sessions:
            if (turn := session.turn) and turn.is_lost():
                self._fetchers.allow_one_more()
                session.note_late_read()
                self._end_turn(session, turn)

    def _hand_on_kept_lines(self) -> None:
        try:
            with self._handling:
                self.entries.flush()
        except MessageHandlingError as error:
            self.failure = error

    def _list_until_stopped(self) -> None:
        while not self._stopped:
            started = time.monotonic()
            try:
                self._list_round()
            except Exception as error:  # noqa: BLE001 - the verdict fails the calls with it
                self._note_failure(error)
            self._replace_late_threads()
            self._hand_on_kept_lines()  # a thread may wait for a chunk for long
            with self._changed:
                rest = started + LIST_INTERVAL - time.monotonic()
                self._changed.wait_for(lambda: self._stopped, max(rest, 0))

    def _list_round(self) -> None:
        """List the chunks of all sessions, page by page. What lies between two sessions is left out."""
        session = self._first_session_from("")
        while session and not self._stopped:
            started = time.monotonic()
            start = session.list_from
            page = self.store.list_page(self.root.object_prefix, start=start, timeout=READ_TIMEOUT)
            cut = "" if page.is_last else self._session_of(page.names[-1])
            in_part = {cut} if start == session.object_prefix else {cut, session.object_prefix}
            self._note_page(page, session.object_prefix, cut, in_part, started)
            if not cut:
                return
            session = self._first_session_from(cut if cut != session.object_prefix else f"{cut}~")
            self._pause(PAGE_INTERVAL)

    def _first_session_from(self, name: str) -> SharedSession | None:
        """Return the first session whose names are not before a name."""
        with self._changed:
            return self._sessions[min(later)] if (later := [key for key in self._sessions if key >= name]) else None

    def _session_of(self, name: str) -> str:
        """Return the start of the names of the session to which an object belongs.

        The objects of the shared prefix itself belong to none. Their names come after those of all sessions.
        """
        start = len(self.root.object_prefix)
        return name[: name.find("/", start) + 1]

    def _note_page(self, page: Page, first: str, cut: str, in_part: Collection[str], started: float) -> None:
        """Tell each session that the page covers which chunk is its last one.

        Args:
            page: The page.
            first: The first session.
            cut: The session that the page ends with; there may be more of it on the next page. Empty: there is none.
            in_part: The sessions of which the page may lack chunks that are there.
            started: When the page was requested (`time.monotonic`).
        """
        last: dict[str, int] = {}
        with self._changed:
            sessions = {key: each for key, each in self._sessions.items() if key >= first and (not cut or key <= cut)}
        for name in page.names:
            key = self._session_of(name)
            if key in sessions and (index := sessions[key].prefix.chunk_index(name)):
                last[key] = max(index, last.get(key, 0))
        for key, session in sessions.items():
            if key in last or key != cut or key == first:
                session.note_list(last.get(key, 0), started, is_whole=key not in in_part)
                if session.has_work:
                    self.read_on(session)

    def _note_failure(self, error: Exception) -> None:
        with self._changed:
            sessions = [*self._sessions.values()]
        for session in sessions:
            session.note_failed_list(error)

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, seconds)
