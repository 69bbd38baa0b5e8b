"""Reads the messages of one session in a thread of its own. All state of the session is here."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

from dagster import PipesMessageHandler
from dagster_pipes import PipesMessage, PipesParams
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._messages.chunk_reader import ChunkReader
from dagster_gcf_pipes._messages.chunk_stream import ChunkStream, WritingEnded
from dagster_gcf_pipes._messages.log_entries import DEFAULT_EVENT_LOG_LEVEL, DEFAULT_LINES_PER_ENTRY, LogEntries
from dagster_gcf_pipes._messages.session_reader import TakeMessage

STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the thread when the call is interrupted. It is a daemon, and ends by itself."""


class ReaderSession(ChunkReader):
    """The message reader of one session, with a thread of its own.

    The thread polls for chunks and hands their messages to Dagster. Dagster takes 1 to 10 ms for a message, and a poll
    takes about as long for a whole chunk, so a second thread would gain nothing.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        poll_interval: The longest pause between two polls, in seconds.
        include_stdio_in_messages: Whether to ask the external process to send what it prints.
        log_lines_per_entry: How many log lines become one entry of the event log at most, while the reader is behind.
        event_log_level: The lowest level of the log lines that get into the event log. The step's stdout gets the
            others.
        take_partitions: Takes materializations of single partitions, or None if the step has no use for them.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: SessionPrefix,
        *,
        poll_interval: float,
        include_stdio_in_messages: bool,
        log_lines_per_entry: int = DEFAULT_LINES_PER_ENTRY,
        event_log_level: str = DEFAULT_EVENT_LOG_LEVEL,
        take_partitions: TakeMessage | None = None,
    ) -> None:
        super().__init__(
            store,
            prefix,
            include_stdio_in_messages=include_stdio_in_messages,
            take_partitions=take_partitions,
        )
        self._log_lines_per_entry = log_lines_per_entry
        self._event_log_level = event_log_level
        self._stream = ChunkStream(store, prefix, poll_interval=poll_interval)
        self._thread: Thread | None = None
        self._ended = False

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read messages while the block runs; `end_writing` in the block lets them be read to their end."""
        self._entries = LogEntries(
            handler.handle_message, lines_per_entry=self._log_lines_per_entry, event_log_level=self._event_log_level
        )
        self._thread = Thread(target=self._handle_chunks, name=f"pipes reader {self._prefix.uri}", daemon=True)
        self._thread.start()
        try:
            yield self._params
        finally:
            self._stream.stop()
            self._thread.join(STOP_TIMEOUT)

    @property
    def ended(self) -> bool:
        """Whether no further message will be handled."""
        return self._ended

    @property
    def silent_for(self) -> float:
        """Seconds without a sign of life."""
        return self._stream.silent_for

    def end_writing(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Let the reader read the messages to their end, as the base class says."""
        self._stream.end_writing(WritingEnded(chunk_count, time.monotonic() + timeout, deadline))

    def drain(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Announce the end of the messages, and wait until all are handled."""
        self.end_writing(chunk_count, timeout=timeout, deadline=deadline)
        if self._thread:
            self._thread.join()

    @property
    def _interrupted(self) -> bool:
        return self._stream.stopped

    def _hand_on(self, message: PipesMessage, where: str) -> None:
        self._entries.add(message, where, more_wait=self._stream.is_behind)

    def _hand_on_kept_lines(self) -> None:
        self._entries.flush()

    def _handle_chunk(self, index: int, data: bytes) -> None:
        try:
            super()._handle_chunk(index, data)
        finally:
            self._entries.flush()  # also the lines before a bad one

    def _handle_chunks(self) -> None:
        try:
            for index, data in self._stream.chunks():
                self._handle_chunk(index, data)
                if self._record.closed or self._interrupted:
                    return
            if (ended := self._stream.writing_ended) and (self._record.opened or ended.chunk_count):
                self._update(missing_chunks=self._find_missing(ended.chunk_count or 0))
        except Exception as error:  # noqa: BLE001 - the verdict fails the call with it
            self._update(failure=error)
        finally:
            self._ended = True
            self.wake()
