"""Reads the messages of one of many sessions, which share a reader."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from dagster import PipesMessageHandler
from dagster_pipes import PipesMessage, PipesParams
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.pages import MAX_PAGE
from gcf_pipes._shared.protocol import MAX_CHUNK_BYTES, SHARED_PREFIX_PARAM, SessionPrefix

from dagster_gcf_pipes._messages.chunk_reader import ChunkReader
from dagster_gcf_pipes._messages.chunk_stream import MAX_READ_TIMEOUT, MIN_DRAIN_DEADLINE, READ_TIMEOUT, WritingEnded
from dagster_gcf_pipes._messages.log_entries import LogEntries
from dagster_gcf_pipes._messages.turn import Turn

if TYPE_CHECKING:
    from dagster_gcf_pipes._messages.shared_reader import SharedReader

RETRY_DELAY: Final = 0.25
"""Seconds before a request is made again while Cloud Storage is unavailable."""


class SharedSession(ChunkReader):
    """The message reader of one of many sessions.

    Args:
        reader: Reads all of them.
        prefix: The session's prefix in the bucket.
        label: Stands before each log line of the session.
        on_change: Called after each message, and when the session has ended.
        include_stdio_in_messages: Whether to ask the function to send what it prints.
    """

    def __init__(
        self,
        reader: "SharedReader",
        prefix: SessionPrefix,
        *,
        label: str,
        on_change: Callable[[], None],
        include_stdio_in_messages: bool,
    ) -> None:
        super().__init__(reader.store, prefix, include_stdio_in_messages=include_stdio_in_messages)
        self.prefix = prefix
        self.object_prefix = prefix.object_prefix
        self.turn: Turn | None = None
        self._reader = reader
        self._label = label
        self._on_change = on_change
        self._handler: PipesMessageHandler | None = None
        self._next_index = 1
        self._known = 0
        self._read_timeout = READ_TIMEOUT
        self._unreadable_since: float | None = None
        self._announced: WritingEnded | None = None
        self._alive_at = time.monotonic()
        self._silent_for = 0.0
        self._ended = False

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read messages while the block runs; `end_writing` in the block lets them be read to their end."""
        self._handler = handler
        self._reader.add(self)
        try:
            yield {**self._params, SHARED_PREFIX_PARAM: self._reader.root.path}
        finally:
            self._ended = True
            self._reader.remove(self)

    @property
    def ended(self) -> bool:
        """Whether no further message will be handled."""
        return self._ended

    @property
    def silent_for(self) -> float:
        """Seconds without a sign of life."""
        return self._silent_for

    @property
    def list_from(self) -> str:
        """Where a list of the chunks starts: with the next one, or at the end of writing with the first."""
        draining = self._announced is not None and self._announced.chunk_count is None
        return self.object_prefix if draining and self._known < MAX_PAGE else self._prefix.chunk_key(self._known + 1)

    @property
    def has_work(self) -> bool:
        """Whether there is a chunk to fetch, or all were fetched."""
        return self._next_index <= self._last or self._is_complete

    def end_writing(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Let the reader read the messages to their end, as the base class says."""
        now = time.monotonic()
        self._announced = WritingEnded(chunk_count, now + timeout, max(deadline, now + MIN_DRAIN_DEADLINE))
        self._reader.read_on(self)

    def note_list(self, last: int, started: float, *, is_whole: bool) -> None:
        """Note which chunks a list has.

        Args:
            last: The number of the last one.
            started: When the list was requested (`time.monotonic`).
            is_whole: Whether it has all chunks. Otherwise it has at least the next chunk, if that is there.
        """
        announced, has_all = self._announced, is_whole or last <= self._known
        if last > self._known:
            self._known = last
            self._note_life()
        else:
            self._silent_for = max(0.0, started - self._alive_at)
        if announced and announced.chunk_count is None and has_all and started >= announced.drain_until:
            self._announced = WritingEnded(self._known, announced.drain_until, announced.deadline)

    def note_failed_list(self, error: Exception) -> None:
        """Note that nobody can know whether the function lives, unless a list can tell nothing new."""
        announced = self._announced
        if self._ended or (announced and announced.chunk_count is not None):
            return
        self._note_life()
        is_transient = isinstance(error, PipesStorageError) and error.transient
        if not is_transient or (announced and time.monotonic() >= announced.deadline):
            self._fail(error)

    def read(self, turn: Turn, handling: Lock) -> None:
        """Fetch the chunks that are there, and hand their messages to Dagster, with a lock."""
        try:
            while self._next_index <= self._last and not self._ended:
                data = self._fetch(self._next_index, turn)
                if turn.is_lost():
                    return None
                if data is None:
                    self._update(missing_chunks=self._find_missing(self._last))
                    return self._end()
                with handling:
                    self._handle_chunk(self._next_index, data)
                self._next_index += 1
                if self._record.closed:
                    return self._end()
            if self._is_complete:
                self._end()
        except Exception as error:  # noqa: BLE001 - the verdict fails the call with it
            if not turn.is_lost():
                self._fail(error)

    def note_late_read(self) -> None:
        """Note that a chunk did not arrive in time."""
        error = PipesStorageError(f"Cannot read a chunk of {self._prefix.uri} within {self._read_timeout:g} s.")
        if not self._may_read_again(error, is_late=True):
            self._fail(error)

    @property
    def _last(self) -> int:
        """The number of the last chunk that is known to be there."""
        announced = self._announced
        return announced.chunk_count if announced and announced.chunk_count is not None else self._known

    @property
    def _is_complete(self) -> bool:
        announced = self._announced
        return announced is not None and announced.chunk_count is not None and self._next_index > announced.chunk_count

    @property
    def _interrupted(self) -> bool:
        return self._ended or self._reader.stopped

    def wake(self) -> None:
        """Let whoever makes the calls look at this one again."""
        self._on_change()

    def _fetch(self, index: int, turn: Turn) -> bytes | None:
        """Read a chunk, and retry while Cloud Storage is unavailable; return None if the chunk is missing.

        Raises:
            PipesStorageError: It stayed unavailable until the deadline, or a retry would fail in the same way.
        """
        while True:
            started, timeout = time.monotonic(), self._read_timeout
            try:
                with turn.fetching(timeout):
                    key = self._prefix.chunk_key(index)
                    data = self._store.read_here(key, max_bytes=MAX_CHUNK_BYTES, timeout=timeout)
            except PipesStorageError as error:
                is_late = time.monotonic() >= started + timeout
                if turn.is_lost() or self._interrupted or not self._may_read_again(error, is_late=is_late):
                    raise
                time.sleep(RETRY_DELAY)
            else:
                self._read_timeout, self._unreadable_since = READ_TIMEOUT, None
                return data

    def _may_read_again(self, error: PipesStorageError, *, is_late: bool) -> bool:
        """Whether to retry after an error. If it came late, the next attempt has more time.

        Each chunk has its own time: others may have waited for long before this one was requested at all.
        """
        if is_late:
            self._read_timeout = min(2 * self._read_timeout, MAX_READ_TIMEOUT)
        self._note_life()  # nobody can know whether the function lives
        if self._unreadable_since is None:
            self._unreadable_since = time.monotonic()
        deadline = max(
            self._announced.deadline if self._announced else math.inf, self._unreadable_since + MIN_DRAIN_DEADLINE
        )
        return error.transient and time.monotonic() < deadline

    def _hand_on_kept_lines(self) -> None:
        """Do nothing: the lines of several sessions share entries, and the reader hands them on."""

    def _hand_on(self, message: PipesMessage, where: str) -> None:
        entries, method = self._reader.entries, message["method"]
        if method == "log":
            entries.add(_labelled(message, self._label), where, more_wait=self._reader.is_behind)
        elif self._handler and method not in {"opened", "closed"}:  # a line for each of many calls is too much
            entries.flush()
            LogEntries(self._handler.handle_message).add(_labelled(message, self._label), where, more_wait=False)

    def _note_life(self) -> None:
        self._alive_at = time.monotonic()
        self._silent_for = 0.0

    def _fail(self, error: Exception) -> None:
        self._update(failure=error)
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._on_change()


def _labelled(message: PipesMessage, label: str) -> PipesMessage:
    """Return a message whose log lines start with a label."""
    params: Mapping[str, Any] = message["params"] or {}
    if message["method"] == "log" and isinstance(text := params.get("message"), str):
        return {**message, "params": {**params, "message": f"{label} {text}"}}
    if message["method"] == "log_external_stream" and isinstance(text := params.get("text"), str):
        labelled = re.sub(r"(?m)^(?=.)", lambda _: f"{label} ", text)
        return {**message, "params": {**params, "text": labelled}}
    return message
