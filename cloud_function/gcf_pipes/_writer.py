"""Writes Pipes messages to a bucket, in numbered chunks, while the function runs."""

import math
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Final, TypedDict

from dagster_pipes import (
    DagsterPipesError,
    PipesExtras,
    PipesMessage,
    PipesMessageWriter,
    PipesParams,
)

from gcf_pipes._allowed_locations import AllowedLocations
from gcf_pipes._cancellation import CallDeadline, Cancellation
from gcf_pipes._channel import SessionChannel, last_lines, warn_of_output
from gcf_pipes._chunk_buffer import Chunk, ChunkBuffer, SealedError
from gcf_pipes._encoding import encode_message
from gcf_pipes._shared.counting import counted
from gcf_pipes._shared.errors import (
    PipesDuplicateCallError,
    PipesMessagesNotStoredError,
    PipesObjectExistsError,
    PipesStorageError,
)
from gcf_pipes._shared.halves import Half
from gcf_pipes._shared.json_validation import get_param, validate_json
from gcf_pipes._shared.protocol import (
    BUCKET_PARAM,
    HEARTBEAT,
    HEARTBEAT_INTERVAL,
    KEY_PREFIX_PARAM,
    MAX_CHUNK_BYTES,
    PARTITIONS_PARAM,
    SHARED_PREFIX_PARAM,
    OpenedExtras,
    SessionPrefix,
)
from gcf_pipes._shared.storage import ObjectStore, check_same_storage, client_getter

if TYPE_CHECKING:
    from google.cloud import storage

DEFAULT_FLUSH_INTERVAL: Final = 0.2
"""Seconds that a message waits for others before its chunk is uploaded."""
MAX_FLUSH_INTERVAL: Final = 5.0
"""Half of the time from SIGTERM to SIGKILL, so that messages can be stored before an instance is shut down.

Source: https://cloud.google.com/run/docs/container-contract#instance-shutdown (10 seconds).
"""
DEFAULT_MAX_CHUNK_BYTES: Final = 1024 * 1024
"""Size at which a chunk is uploaded without waiting, in bytes."""
DEFAULT_MAX_BUFFER_BYTES: Final = 8 * 1024 * 1024
"""Size of the messages that may wait for their upload, in bytes."""
DEFAULT_UPLOAD_TIMEOUT: Final = 30.0
"""Seconds that the claim may take with its retries."""
MAX_SECONDS: Final = 3600.0
"""The longest timeout and interval: a function's own limit is an hour.

Source: https://cloud.google.com/run/docs/configuring/request-timeout (60 minutes).
"""

MIN_FLUSH_TIMEOUT: Final = 2.0
"""Seconds that an upload always has, even after the call's deadline."""
MIN_RETRY_TIMEOUT: Final = 0.1
"""Seconds that must be left for a retry. A shorter one would only hide why the earlier attempt failed."""
MIN_ATTEMPT_TIMEOUT: Final = 0.5
MAX_ATTEMPT_TIMEOUT: Final = 5.0
"""Seconds after which a stalled upload is started again, in addition to the time that its bytes need.

Half of the default heartbeat interval. Dagster gives a function up after three intervals without a chunk, and an upload
that started just before the end of an outage may stall.
"""
MIN_UPLOAD_RATE: Final = 256 * 1024
"""Bytes per second that every connection should reach."""
JOIN_RESERVE: Final = 1.0
"""Seconds to wait for the last flush after its time is up, so that it can raise its own error."""

HEARTBEAT_CHUNK: Final = Chunk(HEARTBEAT, message_count=0)


class _MessagesParams(TypedDict, total=False):
    """The params that our reader and the stock `PipesGCSMessageReader` send."""

    bucket: str
    key_prefix: str | None
    shared_prefix: str | None
    include_stdio_in_messages: bool | None
    partition_materializations: bool | None


class PipesCloudStorageMessageWriterChannel(SessionChannel):
    """The channel of one session. It numbers the chunks and uploads them in order, each once.

    The first message is uploaded before `write_message` returns. It claims the session: of several deliveries of one
    call, only one can create chunk 1. Later messages are gathered into chunks, which a thread of the channel uploads.
    After `heartbeat_interval` seconds without a chunk, the thread uploads a heartbeat.

    `closed` seals the channel: it is the last line of the last chunk. Later messages from other threads are refused.

    Uploads are retried after transient errors until the call's deadline, or without limit if it has none.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        buffer: Gathers the messages into chunks.
        deadline: When the call must end.
        upload_timeout: Seconds that the claim may take with its retries, and the last flush of a call without deadline.
        heartbeat_interval: Seconds without a chunk after which a heartbeat is uploaded.
        shared_prefix: The prefix that the sessions of many calls share, or None.
        takes_partitions: Whether the message reader takes materializations of single partitions.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: SessionPrefix,
        buffer: ChunkBuffer,
        deadline: CallDeadline,
        *,
        upload_timeout: float,
        heartbeat_interval: float,
        shared_prefix: SessionPrefix | None = None,
        takes_partitions: bool = False,
    ) -> None:
        super().__init__(heartbeat_interval=heartbeat_interval, takes_partitions=takes_partitions)
        self._store = store
        self._prefix = prefix
        self._buffer = buffer
        self._deadline = deadline
        self._give_up_at = -math.inf  # uploads are retried until then
        self._upload_timeout = upload_timeout
        self._cancellation = Cancellation(store, prefix, shared_prefix)
        self._uploader = Thread(target=self._upload_chunks, name=f"pipes {prefix.uri}", daemon=True)
        self._failure: Exception | None = None
        self._in_upload = 0  # messages of the chunk that is uploaded now, or whose upload failed
        self._chunk_count = 0

    @property
    def cancelled(self) -> bool:
        """Whether Dagster has terminated the run."""
        return self._cancellation.cancelled

    @property
    def chunk_count(self) -> int:
        """The number of stored chunks, including heartbeats."""
        return self._chunk_count

    @property
    def response_room(self) -> None:
        """None: the HTTP response takes the function's response to Dagster."""

    def write_message(self, message: PipesMessage) -> None:
        """Write a message. Wait if the buffer is full.

        `log_external_stream` neither waits nor fails: output that does not fit is dropped and counted.

        Raises:
            PipesDuplicateCallError: At the first message: another delivery of this call has claimed the session.
            PipesMessagesNotStoredError: An upload failed permanently. This message and perhaps others are not stored.
            PipesCancelledError: Dagster has terminated the run.
            PipesDeadlineExceededError: The call's deadline has passed.
            DagsterPipesError: The message is not JSON serializable, too large, or nested too deep. Or the channel is
                closed, or this is a forked child.
        """
        method = message["method"]
        if self.is_inherited:
            self._refuse_in_child(method)
            return
        line = encode_message(message)
        if self._chunk_count == 0:
            self._claim(line)
            return
        try:
            self._write(line, method)
        except SealedError as error:
            raise (
                self._not_stored()
                if self._failure
                else DagsterPipesError("Cannot send message after pipes context is closed.")
            ) from error

    def close(self) -> None:
        """Wait until all messages are stored or the call's deadline; if it has none, for `upload_timeout` seconds.

        Raises:
            PipesMessagesNotStoredError: An upload failed permanently, now or earlier.
        """
        if self.is_inherited or self._uploader.ident is None:
            return
        self._cancellation.stop()
        now = time.monotonic()
        known = math.isfinite(self._give_up_at)
        self._give_up_at = max(self._give_up_at, now + MIN_FLUSH_TIMEOUT) if known else now + self._upload_timeout
        self._buffer.end_writing()
        self._uploader.join(self._give_up_at - now + JOIN_RESERVE)
        if self._uploader.is_alive():
            self._fail(TimeoutError(f"an upload was still under way after {time.monotonic() - now:.0f} s"))
        if self._failure:
            raise self._not_stored()

    def _claim(self, line: bytes) -> None:
        now = time.monotonic()
        self._give_up_at = min(now + self._upload_timeout, max(self._deadline.flush_until, now + MIN_FLUSH_TIMEOUT))
        try:
            self._upload(Chunk(line, message_count=1))
        except PipesObjectExistsError as error:
            raise PipesDuplicateCallError(
                f"Another delivery of this call has claimed the session at {self._prefix.uri}. "
                "This one does not run the function's code again."
            ) from error
        self._give_up_at = self._deadline.flush_until
        self._uploader.start()

    def _write(self, line: bytes, method: str) -> None:
        if method == "closed":
            self._seal(line)
        elif method == "log_external_stream":
            self._buffer.offer(line)
        else:
            self._check()
            self._buffer.put(line, self._check)
            if self._failure:
                self._check()  # the deadline and a cancellation say more than the upload that they stopped
                raise self._not_stored()

    def _check(self) -> None:
        self._cancellation.check()
        self._deadline.check()

    def _seal(self, closed: bytes) -> None:
        dropped = self._buffer.seal()
        self._buffer.end_writing(*last_lines(closed, 0 if self._failure else dropped))

    def _upload_chunks(self) -> None:
        try:
            self._cancellation.start()
            while (chunk := self._buffer.take(self.heartbeat_interval)) or not self._buffer.drained:
                self._upload(chunk or HEARTBEAT_CHUNK)
        except Exception as error:  # noqa: BLE001 - raised as a cause in the request's thread
            self._fail(error)

    def _upload(self, chunk: Chunk) -> None:
        """Upload the next chunk. Start a stalled upload again with the same bytes: they identify its own chunk."""
        self._in_upload = chunk.message_count
        while not self._failure:
            try:
                self._store.create(self._next_key(), chunk.data, timeout=self._attempt_timeout(len(chunk.data)))
            except PipesStorageError as error:
                if not error.transient or self._give_up_at - time.monotonic() < MIN_RETRY_TIMEOUT:
                    raise
            else:
                self._chunk_count += 1
                self._in_upload = 0
                return

    def _attempt_timeout(self, size: int) -> float:
        """Return how many seconds to wait for an upload. It depends on the chunk's size, not on earlier attempts."""
        stalled = max(MIN_ATTEMPT_TIMEOUT, min(MAX_ATTEMPT_TIMEOUT, self.heartbeat_interval / 2))
        remaining = self._give_up_at - time.monotonic()
        least = MIN_FLUSH_TIMEOUT if self._chunk_count else 0.0  # the claim's timeout bounds all of its attempts
        return min(stalled + size / MIN_UPLOAD_RATE, max(remaining, least))

    def _next_key(self) -> str:
        return self._prefix.chunk_key(self._chunk_count + 1)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._buffer.fail()

    def _not_stored(self) -> PipesMessagesNotStoredError:
        count = self._in_upload + self._buffer.dropped
        error = PipesMessagesNotStoredError(
            f"{counted(count, 'Pipes message')} could not be stored after chunk {self._chunk_count} of "
            f"{self._prefix.uri}: {self._failure}"
        )
        error.__cause__ = self._failure
        return error


class PipesCloudStorageMessageWriter(PipesMessageWriter[PipesCloudStorageMessageWriterChannel]):
    """Message writer that writes chunks of messages to a Cloud Storage bucket.

    One writer serves a whole process: all state of a session is in its channel. Both
    `dagster_gcf_pipes.PipesCloudStorageMessageReader` and the stock `dagster_gcp.PipesGCSMessageReader` can read its
    chunks.

    A session's memory is bounded by `max_buffer_bytes` and the chunk that is being uploaded. If the buffer is full, the
    next Pipes call waits for room until the call's deadline or its cancellation. Forwarded output is dropped instead,
    and a warning counts it. Transient errors of Cloud Storage only cost time. After a permanent error, for example a
    missing permission, the buffer keeps nothing, and the next Pipes call raises `PipesMessagesNotStoredError`.

    Args:
        client: The Cloud Storage client to use. Default: one with the environment's credentials, created when the first
            session opens.
        flush_interval: Seconds that a message waits for others before its chunk is uploaded, at most 5. Default 0.2.
        max_chunk_bytes: Size at which a chunk is uploaded without waiting, in bytes, at most 64 MiB. Default 1 MiB.
        max_buffer_bytes: Size of the messages that may wait for their upload, in bytes, at least 1. Default 8 MiB.
        upload_timeout: Seconds that the first upload, which claims the session, may take with its retries. Also the
            limit of the last flush of a call without deadline. Other uploads are retried until the call's deadline. At
            most 3600. Default 30.
        heartbeat_interval: Seconds without a chunk after which a heartbeat shows Dagster that the function is alive, at
            most 3600. Default 10.
        allowed_locations: The buckets and the prefix that a call may name. Default: those of the environment variables
            `GCF_PIPES_BUCKETS` and `GCF_PIPES_KEY_PREFIX`.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        client: "storage.Client | None" = None,
        *,
        flush_interval: float = DEFAULT_FLUSH_INTERVAL,
        max_chunk_bytes: int = DEFAULT_MAX_CHUNK_BYTES,
        max_buffer_bytes: int = DEFAULT_MAX_BUFFER_BYTES,
        upload_timeout: float = DEFAULT_UPLOAD_TIMEOUT,
        heartbeat_interval: float = HEARTBEAT_INTERVAL,
        allowed_locations: AllowedLocations | None = None,
    ) -> None:
        if not 0 <= flush_interval <= MAX_FLUSH_INTERVAL:
            raise ValueError(f"Expected `flush_interval` to be 0 to {MAX_FLUSH_INTERVAL:g} s, got {flush_interval!r}.")
        if not 0 < max_chunk_bytes <= MAX_CHUNK_BYTES:
            raise ValueError(f"Expected `max_chunk_bytes` to be 1 to {MAX_CHUNK_BYTES:,}, got {max_chunk_bytes!r}.")
        if not 0 < max_buffer_bytes < math.inf:
            raise ValueError(f"Expected `max_buffer_bytes` to be 1 or more, got {max_buffer_bytes!r}.")
        _check_seconds("upload_timeout", upload_timeout)
        _check_seconds("heartbeat_interval", heartbeat_interval)
        self._allowed_locations = allowed_locations or AllowedLocations.from_environment()
        self._client = client
        self._get_client = client_getter(client)
        self._flush_interval = flush_interval
        self._max_chunk_bytes = max_chunk_bytes
        self._max_buffer_bytes = max_buffer_bytes
        self._upload_timeout = upload_timeout
        self._heartbeat_interval = float(heartbeat_interval)

    @contextmanager
    def open(self, params: PipesParams) -> Iterator[PipesCloudStorageMessageWriterChannel]:
        """Open a session's channel. On exit, upload the last messages.

        Args:
            params: The message reader's params.

        Raises:
            PipesRequestError: A param is missing, has the wrong type, or names a bucket or prefix that is not allowed.
            PipesMessagesNotStoredError: On exit: messages could not be stored.
        """
        warn_of_output(params)
        channel = self.open_channel(params, CallDeadline())
        try:
            yield channel
        finally:
            channel.close()

    def open_channel(self, params: PipesParams, deadline: CallDeadline) -> PipesCloudStorageMessageWriterChannel:
        """Return a session's channel. The caller must close it.

        Args:
            params: The message reader's params.
            deadline: When the call must end.

        Raises:
            PipesRequestError: As in `open`.
        """
        prefix = self.session_prefix(params)
        return PipesCloudStorageMessageWriterChannel(
            ObjectStore(prefix.bucket, self._get_client()),
            prefix,
            ChunkBuffer(
                flush_interval=self._flush_interval,
                max_chunk_bytes=self._max_chunk_bytes,
                max_buffer_bytes=self._max_buffer_bytes,
            ),
            deadline,
            upload_timeout=self._upload_timeout,
            heartbeat_interval=self._heartbeat_interval,
            shared_prefix=self._shared_prefix(params),
            takes_partitions=bool(params.get(PARTITIONS_PARAM)),
        )

    def check_storage(self, of_dagster: str | None) -> None:
        """Refuse a call whose messages Dagster would read from another storage than this writer's.

        Args:
            of_dagster: The request header `Dagster-Pipes-Storage`, or None.

        Raises:
            PipesRequestError: One side uses an emulator, and the other does not.
        """
        check_same_storage(self._client, of_dagster)

    def session_prefix(self, params: PipesParams) -> SessionPrefix:
        """Return the session's prefix that the params name.

        Raises:
            PipesRequestError: As in `open`.
        """
        prefix = _prefix(params)
        self._allowed_locations.check(prefix.bucket, prefix.path, "messages")
        return prefix

    def _shared_prefix(self, params: PipesParams) -> SessionPrefix | None:
        path = params.get(SHARED_PREFIX_PARAM)
        if path is None:
            return None
        shared = SessionPrefix(_prefix(params).bucket, path)
        self._allowed_locations.check(shared.bucket, shared.path, "messages")
        return shared

    def get_opened_extras(self) -> PipesExtras:
        """Return facts for `opened`. The id makes the first chunk of each delivery unique."""
        delivery = OpenedExtras(delivery_id=uuid.uuid4().hex, heartbeat_interval=self._heartbeat_interval)
        return {**delivery, **Half.ours().opened_extras}


def _check_seconds(name: str, seconds: float) -> None:
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"Expected `{name}` to be more than 0 s and at most {MAX_SECONDS:g} s, got {seconds!r}.")


def _prefix(params: PipesParams) -> SessionPrefix:
    validate_json(params, _MessagesParams, "the messages params")
    bucket = get_param(params, BUCKET_PARAM, "messages")
    return SessionPrefix(bucket, path=params.get(KEY_PREFIX_PARAM) or "")
