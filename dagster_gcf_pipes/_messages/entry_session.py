"""Reads the messages of one session from Cloud Logging."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from threading import Condition, Thread
from typing import Final

from dagster import PipesMessageHandler
from dagster_pipes import PipesMessage, PipesParams
from gcf_pipes._shared.protocol import CHANNEL_PARAM, LOGGING_CHANNEL, MAX_CHUNK_BYTES, SESSION_PARAM

from dagster_gcf_pipes._messages.backlog import BEHIND_AFTER
from dagster_gcf_pipes._messages.chunk_reader import MAX_MISSING_CHUNKS
from dagster_gcf_pipes._messages.chunk_stream import MIN_DRAIN_DEADLINE, WritingEnded
from dagster_gcf_pipes._messages.entry_api import Entry, EntryReadError
from dagster_gcf_pipes._messages.entry_reader import EntryReader
from dagster_gcf_pipes._messages.entry_sequence import MAX_WAITING_BYTES, EntrySequence, RanTwiceError
from dagster_gcf_pipes._messages.log_entries import NewEntries
from dagster_gcf_pipes._messages.parser import ChunkFormatError
from dagster_gcf_pipes._messages.session_reader import SessionReader, TakeMessage

INGESTION_TIMEOUT: Final = 120.0
"""Seconds without a new entry after which the entries that have not arrived are missing."""
INGESTION_ALLOWANCE: Final = 30.0
"""Seconds that an entry may take to arrive, before the reader counts them as silence."""
STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the thread when the call is interrupted. It is a daemon, and ends by itself."""


class EntrySession(SessionReader):
    """The message reader of one session, with a thread of its own that hands messages to Dagster.

    Args:
        reader: Reads the entries of this session and others.
        include_stdio_in_messages: Whether to ask the external process to send what it prints.
        new_entries: Returns what hands log lines to Dagster.
        take_partitions: Takes materializations of single partitions, or None if the step has no use for them.

    Attributes:
        id: The session's id.
        started: When it began, by this machine's clock.
    """

    opening_delay = INGESTION_ALLOWANCE

    def __init__(
        self,
        reader: EntryReader,
        *,
        include_stdio_in_messages: bool,
        new_entries: NewEntries,
        take_partitions: TakeMessage | None = None,
    ) -> None:
        super().__init__(include_stdio_in_messages=include_stdio_in_messages, take_partitions=take_partitions)
        self.id = reader.new_session_id()
        self._update(parts="log entry", place=f"Cloud Logging ({reader.source})")
        self.started = datetime.now(timezone.utc)
        self._reader = reader
        self._new_entries = new_entries
        self._sequence = EntrySequence(MAX_WAITING_BYTES)
        self._arrived = Condition()
        self._announced: tuple[WritingEnded, float] | None = None
        self._alive_at = self._listed_at = time.monotonic()
        self._error: Exception | None = None
        self._missing: tuple[int, ...] = ()
        self._is_complete = False
        self._stopped = False
        self._busy_since = 0.0
        self._thread: Thread | None = None
        self._ended = False

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read messages while the block runs; `end_writing` in the block lets them be read to their end."""
        self._entries = self._new_entries(handler.handle_message)
        self._thread = Thread(target=self._handle_entries, name=f"pipes reader {self.id}", daemon=True)
        self._thread.start()
        self._reader.add(self)
        try:
            yield {CHANNEL_PARAM: LOGGING_CHANNEL, SESSION_PARAM: self.id, **self._params}
        finally:
            with self._arrived:
                self._stopped = True
                self._arrived.notify_all()
            self._reader.remove(self)
            self._thread.join(STOP_TIMEOUT)

    @property
    def ended(self) -> bool:
        """Whether no further message will be handled."""
        return self._ended

    @property
    def silent_for(self) -> float:
        """Seconds without an entry, as of the last list, and without those that an entry may take to arrive."""
        return max(0.0, self._listed_at - self._alive_at - INGESTION_ALLOWANCE)

    def end_writing(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Let the reader read the messages to their end, as the base class says.

        It waits for `INGESTION_TIMEOUT` after the last entry that has arrived. Then the others are missing.
        """
        at = time.monotonic()
        with self._arrived:
            ended = WritingEnded(chunk_count, at + timeout, max(deadline, at + MIN_DRAIN_DEADLINE))
            self._announced = (ended, at)
            self._look()
        self._reader.nudge()

    def drain(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Announce the end of the messages, and wait until all are handled."""
        self.end_writing(chunk_count, timeout=timeout, deadline=deadline)
        if self._thread:
            self._thread.join()

    def no_messages_debug_text(self) -> str:
        """Tell where the reader expected messages, and from what."""
        return (
            f"Attempted to read the log entries of session {self.id} from {self._reader.source} in Cloud Logging. "
            "Expected the function's entry point to be decorated with `gcf_pipes.pipes_function`, or "
            "`gcf_pipes.PipesCloudLoggingMessageWriter` to be passed to `open_dagster_pipes` in the external process."
        )

    @property
    def term(self) -> str:
        """What finds the entries that have not arrived, in a filter. Empty if there is no room for any.

        It also finds the first entry of another delivery: nothing keeps two deliveries of a call from running.
        """
        session, number = f'jsonPayload.dagster_pipes.session="{self.id}"', "jsonPayload.dagster_pipes.n"
        with self._arrived:
            first, is_full, is_stuck = self._sequence.first_missing, self._sequence.is_full, self._sequence.is_stuck
        if is_full:
            return f"({session} AND {number}={first})" if is_stuck else ""
        return f"({session} AND ({number}>={first} OR {number}=1))"

    @property
    def is_urgent(self) -> bool:
        """Whether entries are known to be missing, or somebody waits for the last ones, and there is room for them."""
        with self._arrived:
            has_room = not self._sequence.is_full or self._sequence.is_stuck
            return not self._is_over and has_room and (self._sequence.has_gap or self._announced is not None)

    def take_entries(self, entries: list[Entry]) -> None:
        """Take entries that have arrived."""
        with self._arrived:
            try:
                for entry in entries:
                    if self._sequence.add(entry):
                        self._alive_at = time.monotonic()
            except RanTwiceError as error:
                self._error = self._error or error
            self._look()

    def note_list(self, started: float) -> None:
        """Note that all entries have arrived that the log had at that time (`time.monotonic`)."""
        with self._arrived:
            self._listed_at = max(self._listed_at, started)
            self._look()

    def note_failed_list(self, error: EntryReadError) -> None:
        """Note that nobody can know whether the function lives."""
        at = time.monotonic()
        with self._arrived:
            self._alive_at = self._listed_at = at
            if not error.transient or (self._announced and at >= self._announced[0].deadline):
                self._error = self._error or error
            self._look()

    @property
    def _is_over(self) -> bool:
        return self._ended or self._stopped or self._is_complete or self._error is not None

    def _look(self) -> None:
        """Find out whether further entries are to be expected, and let the thread go on."""
        if self._announced and not self._is_over:
            ended, at = self._announced
            count = ended.chunk_count
            if count is None and self._listed_at >= ended.drain_until:
                count = self._sequence.last
            if count is not None and self._sequence.first_missing > count:
                self._is_complete = True
            elif count is not None and self._listed_at >= max(at, self._alive_at) + INGESTION_TIMEOUT:
                self._missing = self._sequence.missing_until(max(count, self._sequence.last), most=MAX_MISSING_CHUNKS)
                self._is_complete = True
        self._arrived.notify_all()

    @property
    def _interrupted(self) -> bool:
        return self._stopped

    def _hand_on(self, message: PipesMessage, where: str) -> None:
        is_behind = time.monotonic() >= self._busy_since + BEHIND_AFTER
        self._entries.add(message, where, more_wait=is_behind)

    def _hand_on_kept_lines(self) -> None:
        self._entries.flush()

    def _handle_entries(self) -> None:
        try:
            self._handle_until_complete()
            self._update(missing_chunks=self._missing)
        except Exception as error:  # noqa: BLE001 - the verdict fails the call with it
            self._update(failure=error)
        finally:
            self._ended = True
            self.wake()
            self._reader.remove(self)

    def _handle_until_complete(self) -> None:
        rest = ""
        while not self._record.closed:
            first, data, is_last = self._wait_for_entries()
            if not data and is_last:
                return
            text = rest + data
            end = text.rfind("\n") + 1
            lines, rest = text[:end], text[end:]
            where = f"the log entries from {first} on of session {self.id}"
            if len(rest) > MAX_CHUNK_BYTES:
                raise ChunkFormatError(f"Expected a line of at most {MAX_CHUNK_BYTES:,} bytes in {where}, got more.")
            self._handle_joined(lines, where)
            self._update(chunk_count=self._sequence.next - 1)

    def _wait_for_entries(self) -> tuple[int, str, bool]:
        """Return the number of the next entry, the data from there on, and whether nothing follows.

        Raises:
            RanTwiceError: Two deliveries of the call have run.
            EntryReadError: Cloud Logging could not be read.
        """
        with self._arrived:
            if self._sequence.first_missing == self._sequence.next:
                self._busy_since = 0.0
            self._arrived.wait_for(lambda: self._is_over or self._sequence.first_missing > self._sequence.next)
            self._busy_since = self._busy_since or time.monotonic()
            if self._error:
                raise self._error
            was_full, first = self._sequence.is_full, self._sequence.next
            data = "" if self._stopped else self._sequence.take()
        if was_full:
            self._reader.nudge()
        return first, data, self._is_complete or self._stopped

    def _handle_joined(self, lines: str, where: str) -> None:
        """Hand on complete lines. Empty ones are heartbeats."""
        messages = "".join(f"{line}\n" for line in lines.split("\n") if line)
        try:
            self._handle_lines(messages.encode("utf-8", errors="surrogatepass"), where)
        finally:
            self._entries.flush()  # also the lines before a bad one
