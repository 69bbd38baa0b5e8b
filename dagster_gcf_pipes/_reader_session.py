"""Reads the messages of one session and hands them to Dagster. All state of the session is here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from threading import Condition, Thread
from typing import Final

from dagster import PipesMessageHandler, PipesMessageReader
from dagster_pipes import PipesBlobStoreMessageWriter, PipesException, PipesMessage, PipesParams
from gcf_pipes._protocol import BUCKET_PARAM, KEY_PREFIX_PARAM, OpenedExtras, SessionLocation
from gcf_pipes._storage import ObjectStore

from dagster_gcf_pipes._chunk_fetcher import ChunkFetcher
from dagster_gcf_pipes._chunk_parser import ChunkFormatError, parse_chunk
from dagster_gcf_pipes._opened_extras import read_opened_extras
from dagster_gcf_pipes._verdict import SessionRecord

MOST_MISSING: Final = 1000
"""Missing chunks that are looked for: a response may say that the function wrote any number."""
LIST_TIMEOUT: Final = 30.0
"""Seconds for which the list of a session's objects is retried."""
STOP_TIMEOUT: Final = 5.0
"""Seconds to wait for the threads when the run is interrupted; they are daemons and end by themselves."""


class MessageHandlingError(RuntimeError):
    """Dagster could not handle a message."""


class ReaderSession(PipesMessageReader):
    """The message reader of one session.

    One thread fetches chunks and one hands their messages to Dagster, which takes about 1 ms a message with an
    in-memory event log and 5 ms with SQLite: the fetching is never what one waits for.

    Args:
        store: The bucket.
        location: Where the session keeps its objects.
        fetcher: Fetches the session's chunks.
        include_stdio_in_messages: Whether the external process is asked to send what it prints.
    """

    def __init__(
        self,
        store: ObjectStore,
        location: SessionLocation,
        fetcher: ChunkFetcher,
        *,
        include_stdio_in_messages: bool = False,
    ) -> None:
        self._include_stdio_in_messages = include_stdio_in_messages
        self._store = store
        self._location = location
        self._fetcher = fetcher
        self._opened = False
        self._closed = False
        self._execution = OpenedExtras()
        self._exception: PipesException | None = None
        self._chunk_count = 0
        self._message_count = 0
        self._missing_chunks: tuple[int, ...] = ()
        self._failure: Exception | None = None
        self._ended = False
        self._expected: int | None = None
        self._changed = Condition()

    @property
    def record(self) -> SessionRecord:
        """What has been seen of the session so far."""
        return SessionRecord(
            opened=self._opened,
            execution=self._execution,
            closed=self._closed,
            exception=self._exception,
            chunk_count=self._chunk_count,
            message_count=self._message_count,
            missing_chunks=self._missing_chunks,
            failure=self._failure,
        )

    @property
    def object_keys(self) -> list[str]:
        """The names of the objects that have been read and handled."""
        return [self._location.chunk_key(index) for index in range(1, self._chunk_count + 1)]

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read messages while the block runs, and after it to their end if `function_ended` was called in it.

        If not, there is no end to wait for (the function was not called, or the run was interrupted), and the reading
        stops at once.
        """
        handling = Thread(
            target=self._handle_chunks,
            args=(handler,),
            name=f"pipes reader {self._location.uri}",
            daemon=True,
        )
        self._fetcher.start()
        handling.start()
        try:
            try:
                yield {
                    BUCKET_PARAM: self._location.bucket,
                    KEY_PREFIX_PARAM: self._location.prefix,
                    PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: self._include_stdio_in_messages,
                }
            finally:
                if self._ended:
                    handling.join()
        finally:
            self._fetcher.stop()
            handling.join(STOP_TIMEOUT)
            self._fetcher.join(STOP_TIMEOUT)

    @property
    def failed(self) -> bool:
        """Whether the messages could not be read or handled, so that no more of them will be."""
        return self._failure is not None

    @property
    def over(self) -> bool:
        """Whether no more messages are to come: reading has failed, or a session closed that ends with its request."""
        return self.failed or (self._closed and self._execution.get("closes_with_request", False))

    def wait_until(self, reached: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until something is reached, for at most `timeout` seconds; return whether it is.

        It is looked at again after each message, and after `wake`.
        """
        with self._changed:
            return self._changed.wait_for(reached, timeout)

    def wake(self) -> None:
        """Let `wait_until` look again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_opened(self, timeout: float) -> bool:
        """Wait until the function has opened its session, for at most `timeout` seconds; return whether it has."""
        return self.wait_until(lambda: self._opened or self.failed, timeout) and self._opened

    def wait_for_closed(self, timeout: float) -> None:
        """Wait until the function has closed its session or reading has failed, for at most `timeout` seconds."""
        self.wait_until(lambda: self._closed or self.failed, timeout)

    def function_ended(self, chunk_count: int | None) -> None:
        """Say that the function has ended, and how many chunks it wrote if that is known."""
        self._expected = chunk_count
        self._ended = True
        self._fetcher.function_ended(chunk_count)

    @property
    def expected_writer_count(self) -> int:
        """One: Dagster asks every reader, and warns that its own base property is a preview if that answers."""
        return 1

    def no_messages_debug_text(self) -> str:
        """Tell where messages were expected, and from what."""
        return (
            f"Attempted to read messages from {self._location.uri}. Expected the function's entry point to be "
            "decorated with `gcf_pipes.pipes_function`, or `gcf_pipes.PipesCloudStorageMessageWriter` or "
            "`dagster_pipes.PipesGCSMessageWriter` to be passed to `open_dagster_pipes` in the external process."
        )

    def _handle_chunks(self, handler: PipesMessageHandler) -> None:
        try:
            for index, data in self._fetcher.chunks():
                uri = f"gs://{self._location.bucket}/{self._location.chunk_key(index)}"
                for number, message in enumerate(parse_chunk(data, uri), start=1):
                    self._handle(message, f"line {number} of {uri}", handler)
                self._chunk_count = index
                if self._closed:
                    return
            if self._ended and (self._opened or self._expected):
                self._missing_chunks = self._find_missing()
        except Exception as error:  # noqa: BLE001 - the verdict fails the run with it
            self._failure = error
            self.wake()
        finally:
            self._fetcher.stop()

    def _find_missing(self) -> tuple[int, ...]:
        """Return the numbers of chunks that were written and are not there; what comes after the first is not read."""
        keys = self._store.list_keys(self._location.prefix_key, timeout=LIST_TIMEOUT)
        there = {index for key in keys if (index := self._location.chunk_index(key))}
        written = max(self._expected or 0, *there, 0)
        missing = (index for index in range(1, written + 1) if index not in there)
        return tuple(islice(missing, MOST_MISSING))

    def _handle(self, message: PipesMessage, where: str, handler: PipesMessageHandler) -> None:
        method, params = message["method"], message["params"] or {}
        self._refuse_another_session(method, where)
        if method == "opened":
            self._execution = read_opened_extras(params.get("extras"))
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
