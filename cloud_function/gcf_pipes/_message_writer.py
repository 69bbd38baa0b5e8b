"""Writes Pipes messages to a bucket, in numbered chunks, while the function runs."""

import json
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Final, TypedDict

from dagster_pipes import (
    DagsterPipesError,
    DagsterPipesWarning,
    PipesBlobStoreMessageWriter,
    PipesExtras,
    PipesMessage,
    PipesMessageWriter,
    PipesMessageWriterChannel,
    PipesParams,
)

from gcf_pipes._admission import Admission
from gcf_pipes._chunk_buffer import Chunk, ChunkBuffer
from gcf_pipes._errors import (
    PipesDuplicateCallError,
    PipesMessagesNotStoredError,
    PipesObjectExistsError,
    PipesRequestError,
)
from gcf_pipes._limits import LOOK_INTERVAL, RunLimits
from gcf_pipes._params_loader import get_param
from gcf_pipes._protocol import BUCKET_PARAM, KEY_PREFIX_PARAM, OpenedExtras, SessionLocation
from gcf_pipes._shape import ShapeError, check_shape
from gcf_pipes._storage import ObjectStore, client_getter

if TYPE_CHECKING:
    from google.cloud import storage

DEFAULT_FLUSH_INTERVAL: Final = 0.2
MAX_FLUSH_INTERVAL: Final = 5.0
"""Half of the time from SIGTERM to SIGKILL: what was written before an instance is shut down can be stored by then.

Source: https://cloud.google.com/run/docs/container-contract#instance-shutdown (10 seconds).
"""
DEFAULT_MAX_CHUNK_BYTES: Final = 1024 * 1024
DEFAULT_MAX_BUFFER_BYTES: Final = 8 * 1024 * 1024
DEFAULT_UPLOAD_TIMEOUT: Final = 30.0

UNLIMITED_METHODS: Final = frozenset({"closed", "log_external_stream"})
"""What is written of a run that may not go on: `print` must not raise, and its last words are the traceback."""


class _MessagesParams(TypedDict, total=False):
    """What our reader and the stock `PipesGCSMessageReader` send."""

    bucket: str
    key_prefix: str | None
    include_stdio_in_messages: bool | None


class PipesCloudStorageMessageWriterChannel(PipesMessageWriterChannel):
    """The channel of one session: it numbers the chunks and uploads them in order, each once.

    The first message is uploaded before `write_message` returns. It claims the session: of several deliveries of one
    call only one can create chunk 1. Later messages are gathered into chunks and uploaded by a thread of the channel,
    and what is left at the end by the thread that closes it.

    Args:
        store: The bucket.
        location: Where the session keeps its objects.
        buffer: Gathers the messages into chunks.
        limits: Says whether the run may go on.
        upload_timeout: Seconds that the upload of one chunk may take with its retries, and `close` as a whole.
    """

    def __init__(
        self,
        store: ObjectStore,
        location: SessionLocation,
        buffer: ChunkBuffer,
        limits: RunLimits,
        *,
        upload_timeout: float,
    ) -> None:
        self._limits = limits
        self._store = store
        self._location = location
        self._buffer = buffer
        self._upload_timeout = upload_timeout
        self._uploader = Thread(target=self._upload_due_chunks, name=f"pipes {location.uri}", daemon=True)
        self._failure: Exception | None = None
        self._in_upload = 0  # messages of the chunk that is being uploaded, or that could not be
        self._chunk_count = 0

    @property
    def cancelled(self) -> bool:
        """Whether Dagster has terminated the run."""
        return self._limits.cancelled

    @property
    def chunk_count(self) -> int:
        """The number of chunks that have been stored."""
        return self._chunk_count

    def write_message(self, message: PipesMessage) -> None:
        """Write a message; wait if the buffer is full.

        Raises:
            PipesDuplicateCallError: At the first message: another delivery of this call has claimed the session.
            PipesMessagesNotStoredError: An upload failed for good; this message and perhaps others are not stored.
            PipesCancelledError: Dagster has terminated the run.
            PipesDeadlineExceededError: The run has taken as long as it may.
            DagsterPipesError: The message is not JSON serializable.
        """
        if message["method"] not in UNLIMITED_METHODS:
            self._limits.check()
        line = _encode(message)
        if self._chunk_count == 0:
            self._claim(line)
            return
        self._buffer.put(line)
        if self._failure:
            raise self._not_stored()

    def close(self) -> None:
        """Upload what is left in the buffer, in the calling thread, within `upload_timeout` seconds.

        Raises:
            PipesMessagesNotStoredError: An upload failed for good, now or earlier.
        """
        deadline = time.monotonic() + self._upload_timeout
        self._buffer.close()
        self._join_uploader(deadline)
        while not self._failure and (chunk := self._buffer.take()):
            self._upload_or_fail(chunk, timeout=deadline - time.monotonic())
        if self._failure:
            raise self._not_stored()

    def _claim(self, line: bytes) -> None:
        try:
            self._upload(Chunk(line, message_count=1), timeout=self._upload_timeout)
        except PipesObjectExistsError as error:
            raise PipesDuplicateCallError(
                f"Another delivery of this call has claimed the session at {self._location.uri}; "
                "this one does not run the function's code again."
            ) from error
        self._uploader.start()

    def _upload_due_chunks(self) -> None:
        try:
            while not self._failure and not self._buffer.closed:
                if chunk := self._buffer.take_due(LOOK_INTERVAL):
                    self._upload_or_fail(chunk, timeout=self._upload_timeout)
                self._limits.look()
        except Exception as error:  # noqa: BLE001 - as in _upload_or_fail: a writer must not wait for a thread that has died
            self._fail(error)

    def _join_uploader(self, deadline: float) -> None:
        if self._uploader.ident is None:
            return
        self._uploader.join(max(0.0, deadline - time.monotonic()))
        if self._uploader.is_alive():
            self._failure = TimeoutError(f"an upload was still under way after {self._upload_timeout:g} s")

    def _upload_or_fail(self, chunk: Chunk, *, timeout: float) -> None:
        self._in_upload = chunk.message_count
        try:
            self._upload(chunk, timeout=timeout)
        except Exception as error:  # noqa: BLE001 - re-raised, as the cause, in the request's own thread
            self._fail(error)
        else:
            self._in_upload = 0

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._buffer.close()

    def _upload(self, chunk: Chunk, *, timeout: float) -> None:
        if timeout <= 0:
            raise TimeoutError(f"the last flush took more than {self._upload_timeout:g} s")
        self._store.create(self._location.chunk_key(self._chunk_count + 1), chunk.data, timeout=timeout)
        self._chunk_count += 1

    def _not_stored(self) -> PipesMessagesNotStoredError:
        count = self._in_upload + len(self._buffer)
        error = PipesMessagesNotStoredError(
            f"{count} Pipes messages could not be stored after chunk {self._chunk_count} of {self._location.uri}: "
            f"{self._failure}"
        )
        error.__cause__ = self._failure
        return error


class PipesCloudStorageMessageWriter(PipesMessageWriter[PipesCloudStorageMessageWriterChannel]):
    """Message writer that writes chunks of messages to a Cloud Storage bucket.

    One writer serves a whole process: all state of a session lives in its channel. What it writes can be read by
    `dagster_gcf_pipes.PipesCloudStorageMessageReader` and by the stock `dagster_gcp.PipesGCSMessageReader`.

    Memory of a session is bounded by `max_buffer_bytes` and one chunk under way. At the bound, because messages are
    written faster than they are uploaded or because the bucket is away, the next Pipes call waits for room; when an
    upload has failed for `upload_timeout` seconds, it raises `PipesMessagesNotStoredError`.

    Args:
        client: The Cloud Storage client to use. Defaults to one with the environment's own credentials, created when
            the first session opens.
        flush_interval: Seconds that a message waits for others before its chunk is uploaded, at most 5. Default 0.2.
        max_chunk_bytes: Size at which a chunk is uploaded without waiting, in bytes. Default 1 MiB.
        max_buffer_bytes: Size of the messages that may wait for their upload, in bytes. Default 8 MiB.
        upload_timeout: Seconds that the upload of one chunk may take with its retries, and that the last flush may take
            as a whole. Default 30.
        admission: The buckets and the prefix that a call may name. Defaults to what the environment variables
            `GCF_PIPES_BUCKETS` and `GCF_PIPES_KEY_PREFIX` say.

    Raises:
        ValueError: `flush_interval` is out of its range.
    """

    def __init__(
        self,
        client: "storage.Client | None" = None,
        *,
        flush_interval: float = DEFAULT_FLUSH_INTERVAL,
        max_chunk_bytes: int = DEFAULT_MAX_CHUNK_BYTES,
        max_buffer_bytes: int = DEFAULT_MAX_BUFFER_BYTES,
        upload_timeout: float = DEFAULT_UPLOAD_TIMEOUT,
        admission: Admission | None = None,
    ) -> None:
        if not 0 <= flush_interval <= MAX_FLUSH_INTERVAL:
            raise ValueError(f"Expected `flush_interval` to be 0 to {MAX_FLUSH_INTERVAL:g} s, got {flush_interval!r}.")
        self._admission = admission or Admission.from_environment()
        self._get_client = client_getter(client)
        self._flush_interval = flush_interval
        self._max_chunk_bytes = max_chunk_bytes
        self._max_buffer_bytes = max_buffer_bytes
        self._upload_timeout = upload_timeout

    @contextmanager
    def open(self, params: PipesParams) -> Iterator[PipesCloudStorageMessageWriterChannel]:
        """Open a session's channel; on exit, upload what is left.

        Args:
            params: The params that the message reader has made.

        Raises:
            PipesRequestError: A param is missing or of the wrong type, or names a place that a call may not name.
            PipesMessagesNotStoredError: On exit: messages could not be stored.
        """
        if params.get(PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY):
            warnings.warn(
                "`include_stdio_in_messages` needs `gcf_pipes.pipes_function`: it knows which request prints what. "
                "With this writer alone, use `pipes.log`.",
                DagsterPipesWarning,
                stacklevel=3,
            )
        with self.open_channel(params) as channel:
            yield channel

    @contextmanager
    def open_channel(
        self, params: PipesParams, *, timeout: float | None = None
    ) -> Iterator[PipesCloudStorageMessageWriterChannel]:
        """Open a session's channel for a run that may take `timeout` seconds; as `open` does it otherwise."""
        location = self.locate(params)
        store = ObjectStore(location.bucket, self._get_client())
        channel = PipesCloudStorageMessageWriterChannel(
            store,
            location,
            ChunkBuffer(
                flush_interval=self._flush_interval,
                max_chunk_bytes=self._max_chunk_bytes,
                max_buffer_bytes=self._max_buffer_bytes,
            ),
            RunLimits(store, location, timeout),
            upload_timeout=self._upload_timeout,
        )
        try:
            yield channel
        finally:
            channel.close()

    def locate(self, params: PipesParams) -> SessionLocation:
        """Return where a session keeps its objects.

        Raises:
            PipesRequestError: A param is missing or of the wrong type, or names a place that a call may not name.
        """
        location = _location(params)
        self._admission.check(location.bucket, location.prefix, "messages")
        return location

    def get_opened_extras(self) -> PipesExtras:
        """What `opened` tells Dagster; the id makes each delivery's first chunk unlike any other's."""
        return {**OpenedExtras(delivery_id=uuid.uuid4().hex)}


def _location(params: PipesParams) -> SessionLocation:
    try:
        check_shape(params, _MessagesParams, "the messages params")
    except ShapeError as error:
        raise PipesRequestError(str(error)) from error
    bucket = get_param(params, BUCKET_PARAM, "messages")
    return SessionLocation(bucket, prefix=params.get(KEY_PREFIX_PARAM) or "")


def _encode(message: PipesMessage) -> bytes:
    try:
        return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise DagsterPipesError(
            f"Expected the params of the Pipes message `{message['method']}` to be JSON serializable: {error}"
        ) from error
