"""Reads the messages of one session and hands them to Dagster. All state of the session is here."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Condition, Thread
from typing import Any, Final

from dagster import PipesMessageHandler, PipesMessageReader
from dagster_pipes import PipesBlobStoreMessageWriter, PipesException, PipesMessage, PipesParams
from gcf_pipes._shared.halves import Half, protocol_problem
from gcf_pipes._shared.protocol import BUCKET_PARAM, KEY_PREFIX_PARAM, USAGE_PARAM, OpenedExtras, SessionPrefix, Usage
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._messages.chunk_stream import ChunkStream, WritingEnded
from dagster_gcf_pipes._messages.parser import ChunkFormatError, parse_chunk, read_opened_extras, read_usage

MAX_MISSING_CHUNKS: Final = 1000
"""How many missing chunks are searched: a response may claim that the function wrote any number."""
MAX_NAMED_CHUNKS: Final = 20
LIST_TIMEOUT: Final = 30.0
"""Seconds to retry the list of a session's objects."""
STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the thread when the call is interrupted. It is a daemon, and ends by itself."""
MAX_SILENT_HEARTBEATS: Final = 3
"""Heartbeats that may be missing before the reader gives the function up."""
LATE_HEARTBEAT: Final = 1.5
"""Heartbeat intervals without a sign of life before the caller asks the platform's log."""

_OUTPUT_FIX: Final = (
    "\nFix: Decorate the function's entry point with `gcf_pipes.pipes_function`, or set `forward_logs` of the resource "
    "to false. Dagster's own writer sends output after `closed`."
)


@dataclass(frozen=True)
class SessionRecord:
    """What the message reader saw of the session.

    Attributes:
        opened: Whether `opened` came.
        opened_extras: What `opened` said about the execution.
        has_output: Whether a part of the function's output came.
        closed: Whether `closed` came.
        exception: The exception in `closed`, or None.
        usage: What the request used, as `closed` said.
        chunk_count: How many chunks were read and handled.
        message_count: How many messages were handled.
        missing_chunks: Numbers of the chunks that are not in the bucket, although they or a later one were written.
        silent_for: If the reader gave the function up: how long it showed no sign of life, in seconds. Otherwise 0.
        failure: The error that stopped the reading, or None.
    """

    opened: bool = False
    opened_extras: OpenedExtras = field(default_factory=OpenedExtras)
    has_output: bool = False
    closed: bool = False
    exception: PipesException | None = None
    usage: Usage = field(default_factory=Usage)
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
    def function(self) -> Half | None:
        """What the function says about itself, or None."""
        return Half.parse(self.opened_extras.get("protocol"), self.opened_extras.get("version"))

    @property
    def done(self) -> bool:
        """Whether no further message can come: reading has failed, or a session of our runtime is closed."""
        return self.failure is not None or (self.closed and self.closes_with_request)


class AnotherProtocolError(RuntimeError):
    """The function has another version of the wire protocol."""


class MessageHandlingError(RuntimeError):
    """Dagster could not handle a message."""


class ReaderSession(PipesMessageReader):
    """The message reader of one session.

    One thread polls for chunks and hands their messages to Dagster. Dagster takes 1 to 10 ms for a message, and a poll
    takes about as long for a whole chunk, so a second thread would gain nothing.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        poll_interval: The longest pause between two polls, in seconds.
        include_stdio_in_messages: Whether to ask the external process to send what it prints.
    """

    def __init__(
        self, store: ObjectStore, prefix: SessionPrefix, *, poll_interval: float, include_stdio_in_messages: bool
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._include_stdio_in_messages = include_stdio_in_messages
        self._stream = ChunkStream(store, prefix, poll_interval=poll_interval)
        self._record = SessionRecord()
        self._changed = Condition()
        self._thread: Thread | None = None

    @property
    def record(self) -> SessionRecord:
        """What was seen of the session so far."""
        return self._record

    @property
    def deletable_keys(self) -> list[str]:
        """The names of the handled chunks, without the first.

        The first chunk is the claim. Without it, a late delivery of the call would run the user's code again.
        """
        return [self._prefix.chunk_key(index) for index in range(2, self._record.chunk_count + 1)]

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read messages while the block runs; `drain` in the block reads them to their end."""
        self._thread = Thread(
            target=self._handle_chunks, args=(handler,), name=f"pipes reader {self._prefix.uri}", daemon=True
        )
        self._thread.start()
        try:
            yield {
                BUCKET_PARAM: self._prefix.bucket,
                KEY_PREFIX_PARAM: self._prefix.path,
                PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: self._include_stdio_in_messages,
            }
        finally:
            self._stream.stop()
            self._thread.join(STOP_TIMEOUT)

    def wait_until(self, reached: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until a condition holds, for at most `timeout` seconds; return whether it does.

        Re-evaluated after each message and after `wake`.
        """
        with self._changed:
            return self._changed.wait_for(reached, timeout)

    def wake(self) -> None:
        """Let `wait_until` evaluate its condition again."""
        with self._changed:
            self._changed.notify_all()

    @property
    def misses_heartbeats(self) -> bool:
        """Whether a function that writes heartbeats should have written one by now."""
        interval = self._record.opened_extras.get("heartbeat_interval")
        return interval is not None and self._stream.silent_for > LATE_HEARTBEAT * interval

    def give_up_if_silent(self) -> bool:
        """Whether a function that writes heartbeats showed no sign of life for too long; the record then says so."""
        interval = self._record.opened_extras.get("heartbeat_interval")
        silent_for = self._stream.silent_for
        if interval is not None and silent_for > MAX_SILENT_HEARTBEATS * interval:
            self._update(silent_for=silent_for)
        return self._record.silent_for > 0

    def drain(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Read the messages to their end: nobody will write another one, or nobody waits for it.

        Args:
            chunk_count: How many chunks there are, or None if that is not known.
            timeout: If the count is not known: seconds to poll for further chunks. Those in the bucket then are read.
            deadline: Until when to retry while Cloud Storage is unavailable (`time.monotonic`); at least a minute.
        """
        now = time.monotonic()
        self._stream.end_writing(WritingEnded(chunk_count, now + timeout, deadline))
        if self._thread:
            self._thread.join()

    @property
    def expected_writer_count(self) -> int:
        """Always 1. Overridden because Dagster's default emits a preview warning."""
        return 1

    def no_messages_debug_text(self) -> str:
        """Tell where the reader expected messages, and from what."""
        return (
            f"Attempted to read messages from {self._prefix.uri}. Expected the function's entry point to be "
            "decorated with `gcf_pipes.pipes_function`, or `gcf_pipes.PipesCloudStorageMessageWriter` or "
            "`dagster_pipes.PipesGCSMessageWriter` to be passed to `open_dagster_pipes` in the external process."
        )

    def _handle_chunks(self, handler: PipesMessageHandler) -> None:
        try:
            for index, data in self._stream.chunks():
                uri = f"gs://{self._prefix.bucket}/{self._prefix.chunk_key(index)}"
                for number, message in enumerate(parse_chunk(data, uri), start=1):
                    if self._stream.stopped:
                        return
                    self._handle(message, f"line {number} of {uri}", handler)
                self._update(chunk_count=index)
                if self._record.closed:
                    return
            if (ended := self._stream.writing_ended) and (self._record.opened or ended.chunk_count):
                self._update(missing_chunks=self._find_missing(ended.chunk_count or 0))
        except Exception as error:  # noqa: BLE001 - the verdict fails the call with it
            self._update(failure=error)

    def _find_missing(self, chunk_count: int) -> tuple[int, ...]:
        """Return the numbers of chunks that were written and are not in the bucket. The reader stops at the first."""
        keys = self._store.list_keys(self._prefix.object_prefix, timeout=LIST_TIMEOUT)
        stored = {index for key in keys if (index := self._prefix.chunk_index(key))}
        written = max(chunk_count, *stored, 0)
        missing = (index for index in range(1, written + 1) if index not in stored)
        return tuple(islice(missing, MAX_MISSING_CHUNKS))

    def _handle(self, message: PipesMessage, where: str, handler: PipesMessageHandler) -> None:
        method, params = message["method"], message["params"] or {}
        self._refuse_another_session(method, where)
        seen: dict[str, Any] = {"message_count": self._record.message_count + 1}
        if method == "opened":
            seen |= {"opened": True, "opened_extras": read_opened_extras(params.get("extras"))}
        elif method == "closed":
            usage = read_usage(params.get(USAGE_PARAM))
            seen |= {"closed": True, "exception": params.get("exception"), "usage": usage}
        elif method == "log_external_stream":
            seen["has_output"] = True
        self._update(**seen)
        if method == "opened":
            self._refuse_another_protocol()
        try:
            handler.handle_message(message)
        except BaseException as error:
            raise MessageHandlingError(f"Dagster cannot handle the `{method}` in {where}: {error}") from error

    def _update(self, **seen: Any) -> None:
        with self._changed:
            self._record = replace(self._record, **seen)
            self._changed.notify_all()

    def _refuse_another_session(self, method: str, where: str) -> None:
        """Refuse what no writer of this session writes: its first message is `opened`, its last is `closed`."""
        fix = ""
        if self._record.closed:
            expected = "no message after `closed`"
            fix = _OUTPUT_FIX if method == "log_external_stream" else ""
        elif self._record.opened and method == "opened":
            expected = "one `opened`: another session writes to the same prefix"
        elif not self._record.opened and method != "opened":
            expected = "`opened` before any other message"
        else:
            return
        raise ChunkFormatError(f"Expected {expected}, got `{method}` in {where}.{fix}")

    def _refuse_another_protocol(self) -> None:
        function = self._record.function
        if problem := function and protocol_problem(function=function, dagster=Half.ours()):
            raise AnotherProtocolError(problem)


def describe_missing(chunks: tuple[int, ...]) -> str:
    """Name the chunks that are missing."""
    if len(chunks) == 1:
        return f"chunk {chunks[0]} is not in the bucket"
    more = f" and {len(chunks) - MAX_NAMED_CHUNKS} more" if len(chunks) > MAX_NAMED_CHUNKS else ""
    return f"chunks {', '.join(map(str, chunks[:MAX_NAMED_CHUNKS]))}{more} are not in the bucket"
