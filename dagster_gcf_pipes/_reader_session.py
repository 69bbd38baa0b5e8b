"""Reads the messages of one session and hands them to Dagster. All state of the session is here."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition, Thread
from typing import Final

from dagster import PipesMessageHandler, PipesMessageReader
from dagster_pipes import PipesBlobStoreMessageWriter, PipesException, PipesMessage, PipesParams
from gcf_pipes._protocol import BUCKET_PARAM, KEY_PREFIX_PARAM, OpenedExtras, SessionPrefix
from gcf_pipes._storage import ObjectStore

from dagster_gcf_pipes._chunk_fetcher import ChunkFetcher, WritingEnded
from dagster_gcf_pipes._chunk_parser import ChunkFormatError, parse_chunk
from dagster_gcf_pipes._opened_extras import read_opened_extras

MAX_MISSING: Final = 1000
"""Missing chunks that are looked for: a response may say that the function wrote any number."""
LIST_TIMEOUT: Final = 30.0
"""Seconds for which the list of a session's objects is retried."""
STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the threads when the call is interrupted; they are daemons and end by themselves."""
MIN_DRAIN_DEADLINE: Final = 60.0
"""Seconds after the end of writing for which the last chunks are tried at least, if Cloud Storage is unavailable."""
MAX_SILENT_HEARTBEATS: Final = 3
"""Heartbeats that may be missing before the function is taken for dead."""
LATE_HEARTBEAT: Final = 1.5
"""Heartbeat intervals without a sign of life after which the platform's log is asked."""
MAX_NAMED_CHUNKS: Final = 20


@dataclass(frozen=True)
class SessionRecord:
    """What the message reader saw of the session.

    Attributes:
        opened: Whether `opened` came.
        opened_extras: What `opened` said about the execution.
        closed: Whether `closed` came.
        exception: The exception that came with `closed`, or None.
        chunk_count: The number of chunks that were read and handled.
        message_count: The number of messages that were handled.
        missing_chunks: The numbers of chunks that are not in the bucket, although they or a later one were written.
        silent_for: Seconds for which the function gave no sign of life, if it was given up for that; else 0.
        failure: What ended the reading before its time, or None.
    """

    opened: bool = False
    opened_extras: OpenedExtras = field(default_factory=OpenedExtras)
    closed: bool = False
    exception: PipesException | None = None
    chunk_count: int = 0
    message_count: int = 0
    missing_chunks: tuple[int, ...] = ()
    silent_for: float = 0.0
    failure: Exception | None = None

    @property
    def closes_with_request(self) -> bool:
        """Whether our runtime made the session, so that `closed` tells the outcome of the call."""
        return self.opened_extras.get("closes_with_request", False)

    @property
    def no_more_messages(self) -> bool:
        """Whether no further message can come: reading has failed, or a session of our runtime is closed."""
        return self.failure is not None or (self.closed and self.closes_with_request)


class MessageHandlingError(RuntimeError):
    """Dagster could not handle a message."""


class ReaderSession(PipesMessageReader):
    """The message reader of one session.

    One thread fetches chunks and one hands their messages to Dagster, which takes about 1 ms a message with an
    in-memory event log and 5 ms with SQLite: the fetching is never what one waits for.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        fetcher: Fetches the session's chunks.
        include_stdio_in_messages: Whether the external process is asked to send what it prints.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: SessionPrefix,
        fetcher: ChunkFetcher,
        *,
        include_stdio_in_messages: bool = False,
    ) -> None:
        self._include_stdio_in_messages = include_stdio_in_messages
        self._store = store
        self._prefix = prefix
        self._fetcher = fetcher
        self._opened = False
        self._closed = False
        self._opened_extras = OpenedExtras()
        self._exception: PipesException | None = None
        self._chunk_count = 0
        self._message_count = 0
        self._missing_chunks: tuple[int, ...] = ()
        self._silent_for = 0.0
        self._failure: Exception | None = None
        self._writing_ended: WritingEnded | None = None
        self._changed = Condition()
        self._handling: Thread | None = None

    @property
    def record(self) -> SessionRecord:
        """What has been seen of the session so far."""
        return SessionRecord(
            opened=self._opened,
            opened_extras=self._opened_extras,
            closed=self._closed,
            exception=self._exception,
            chunk_count=self._chunk_count,
            message_count=self._message_count,
            missing_chunks=self._missing_chunks,
            silent_for=self._silent_for,
            failure=self._failure,
        )

    @property
    def object_keys(self) -> list[str]:
        """The names of the objects that may be deleted: the chunks that were handled, but for the first, the claim.

        Without the claim, a delivery of the call that comes late would run the user's code again.
        """
        return [self._prefix.chunk_key(index) for index in range(2, self._chunk_count + 1)]

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read messages while the block runs; `drain` in the block reads them to their end."""
        self._handling = Thread(
            target=self._handle_chunks,
            args=(handler,),
            name=f"pipes reader {self._prefix.uri}",
            daemon=True,
        )
        self._fetcher.start()
        self._handling.start()
        try:
            yield {
                BUCKET_PARAM: self._prefix.bucket,
                KEY_PREFIX_PARAM: self._prefix.path,
                PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: self._include_stdio_in_messages,
            }
        finally:
            self._fetcher.stop()
            self._handling.join(STOP_TIMEOUT)
            self._fetcher.join(STOP_TIMEOUT)

    def wait_until(self, reached: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until something is reached, for at most `timeout` seconds; return whether it is.

        It is evaluated again after each message, and after `wake`.
        """
        with self._changed:
            return self._changed.wait_for(reached, timeout)

    def wake(self) -> None:
        """Let `wait_until` evaluate again."""
        with self._changed:
            self._changed.notify_all()

    @property
    def misses_heartbeats(self) -> bool:
        """Whether a function that writes heartbeats should have written one by now."""
        interval = self._opened_extras.get("heartbeat_interval")
        return interval is not None and self._fetcher.silent_for > LATE_HEARTBEAT * interval

    def give_up_if_silent(self) -> bool:
        """Whether a function that writes heartbeats gave no sign of life for too long; the record then says so."""
        interval = self._opened_extras.get("heartbeat_interval")
        silent_for = self._fetcher.silent_for
        if interval is not None and silent_for > MAX_SILENT_HEARTBEATS * interval:
            self._silent_for = silent_for
        return self._silent_for > 0

    def drain(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Read the messages to their end, as nobody will write another one, or nobody waits for it.

        Args:
            chunk_count: How many chunks there are, or None if that is not known.
            timeout: If it is not known: seconds for which to look for further ones. What is there then is read.
            deadline: Until when to retry while Cloud Storage is unavailable (`time.monotonic`); at least a minute.
        """
        now = time.monotonic()
        self._writing_ended = WritingEnded(chunk_count, now + timeout, max(deadline, now + MIN_DRAIN_DEADLINE))
        self._fetcher.writing_ended(self._writing_ended)
        if self._handling:
            self._handling.join()

    @property
    def expected_writer_count(self) -> int:
        """Always 1. Overridden because Dagster's default emits a preview warning."""
        return 1

    def no_messages_debug_text(self) -> str:
        """Tell where messages were expected, and from what."""
        return (
            f"Attempted to read messages from {self._prefix.uri}. Expected the function's entry point to be "
            "decorated with `gcf_pipes.pipes_function`, or `gcf_pipes.PipesCloudStorageMessageWriter` or "
            "`dagster_pipes.PipesGCSMessageWriter` to be passed to `open_dagster_pipes` in the external process."
        )

    def _handle_chunks(self, handler: PipesMessageHandler) -> None:
        try:
            for index, data in self._fetcher.chunks():
                uri = f"gs://{self._prefix.bucket}/{self._prefix.chunk_key(index)}"
                for number, message in enumerate(parse_chunk(data, uri), start=1):
                    self._handle(message, f"line {number} of {uri}", handler)
                self._chunk_count = index
                if self._closed:
                    return
            if (ended := self._writing_ended) and (self._opened or ended.chunk_count):
                self._missing_chunks = self._find_missing(ended.chunk_count or 0)
        except Exception as error:  # noqa: BLE001 - the verdict fails the call with it
            self._failure = error
            self.wake()
        finally:
            self._fetcher.stop()

    def _find_missing(self, chunk_count: int) -> tuple[int, ...]:
        """Return the numbers of chunks that were written and are not there; what comes after the first is not read."""
        keys = self._store.list_keys(self._prefix.object_prefix, timeout=LIST_TIMEOUT)
        there = {index for key in keys if (index := self._prefix.chunk_index(key))}
        written = max(chunk_count, *there, 0)
        missing = (index for index in range(1, written + 1) if index not in there)
        return tuple(islice(missing, MAX_MISSING))

    def _handle(self, message: PipesMessage, where: str, handler: PipesMessageHandler) -> None:
        method, params = message["method"], message["params"] or {}
        self._refuse_another_session(method, where)
        if method == "opened":
            self._opened_extras = read_opened_extras(params.get("extras"))
        if method == "closed":
            self._exception = params.get("exception")
        with self._changed:
            self._opened = self._opened or method == "opened"
            self._closed = self._closed or method == "closed"
            self._changed.notify_all()
        self._message_count += 1
        try:
            handler.handle_message(message)
        except Exception as error:
            raise MessageHandlingError(f"Dagster cannot handle the `{method}` in {where}: {error}") from error

    def _refuse_another_session(self, method: str, where: str) -> None:
        """Refuse what no writer of this session can have written: `opened` is its first message, `closed` its last."""
        if self._closed:
            expected = "no message after `closed`"
        elif self._opened and method == "opened":
            expected = "one `opened`: another session writes to the same place"
        elif not self._opened and method != "opened":
            expected = "`opened` before any other message"
        else:
            return
        raise ChunkFormatError(f"Expected {expected}, got `{method}` in {where}.")


def describe_missing(chunks: tuple[int, ...]) -> str:
    """Say which chunks are missing."""
    if len(chunks) == 1:
        return f"chunk {chunks[0]} is not in the bucket"
    more = f" and {len(chunks) - MAX_NAMED_CHUNKS} more" if len(chunks) > MAX_NAMED_CHUNKS else ""
    return f"chunks {', '.join(map(str, chunks[:MAX_NAMED_CHUNKS]))}{more} are not in the bucket"
