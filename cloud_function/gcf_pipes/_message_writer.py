"""Writes Pipes messages to a bucket, in numbered chunks, while the function runs."""

import logging
import math
import os
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

from gcf_pipes._allowed_locations import AllowedLocations
from gcf_pipes._cancellation import CallDeadline, Cancellation
from gcf_pipes._chunk_buffer import Chunk, ChunkBuffer, SealedError
from gcf_pipes._errors import (
    PipesDuplicateCallError,
    PipesMessagesNotStoredError,
    PipesObjectExistsError,
    PipesRequestError,
    PipesStorageError,
)
from gcf_pipes._json_validation import JsonValidationError, validate_json
from gcf_pipes._messages import encode_message, make_message
from gcf_pipes._own_logs import log
from gcf_pipes._params_loader import get_param
from gcf_pipes._protocol import (
    BUCKET_PARAM,
    HEARTBEAT,
    HEARTBEAT_INTERVAL,
    KEY_PREFIX_PARAM,
    MAX_CHUNK_BYTES,
    OpenedExtras,
    SessionPrefix,
)
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
MAX_SECONDS: Final = 3600.0
"""The longest timeout and interval: a function can run for an hour at most.

Source: https://cloud.google.com/run/docs/configuring/request-timeout (60 minutes).
"""

MIN_FLUSH_TIMEOUT: Final = 2.0
"""Seconds that an upload has in any case, also when the run's deadline has passed."""
MIN_ATTEMPT_TIMEOUT: Final = 0.5
MAX_ATTEMPT_TIMEOUT: Final = 5.0
"""Seconds after which an upload that hangs is started again, beside those that its bytes need.

Half of the default heartbeat interval: Dagster takes a function for dead when no chunk came for three intervals, and
the first upload after an outage may have started just before its end.
"""
MIN_UPLOAD_RATE: Final = 256 * 1024
"""Bytes a second that any connection is expected to take."""
JOIN_RESERVE: Final = 1.0
"""Seconds for which the last flush is awaited after its end, so that it can say itself why it failed."""

HEARTBEAT_CHUNK: Final = Chunk(HEARTBEAT, message_count=0)


class _MessagesParams(TypedDict, total=False):
    """What our reader and the stock `PipesGCSMessageReader` send."""

    bucket: str
    key_prefix: str | None
    include_stdio_in_messages: bool | None


class PipesCloudStorageMessageWriterChannel(PipesMessageWriterChannel):
    """The channel of one session: it numbers the chunks and uploads them in order, each once.

    The first message is uploaded before `write_message` returns. It claims the session: of several deliveries of one
    call only one can create chunk 1. Later messages are gathered into chunks, and uploaded by a thread of the channel.
    When there is nothing to upload for `heartbeat_interval` seconds, it uploads a heartbeat.

    `closed` seals the channel: it is the last line of the last chunk, and what another thread writes later is refused.

    Uploads are retried after transient errors until the run's deadline, and for ever while it is not known.

    The channel belongs to the process that made it: a forked child cannot write messages.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        buffer: Gathers the messages into chunks.
        deadline: When the run must end.
        upload_timeout: Seconds that the claim may take with its retries, and the last flush if no deadline is known.
        heartbeat_interval: Seconds without a chunk after which a heartbeat is uploaded.
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
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._buffer = buffer
        self._deadline = deadline
        self._give_up_at = -math.inf  # until then an upload is retried: the claim, those of the run, the last ones
        self._upload_timeout = upload_timeout
        self._heartbeat_interval = heartbeat_interval
        self._cancellation = Cancellation(store, prefix)
        self._uploader = Thread(target=self._upload_chunks, name=f"pipes {prefix.uri}", daemon=True)
        self._process_id = os.getpid()
        self._failure: Exception | None = None
        self._in_upload = 0  # messages of the chunk that is being uploaded, or that could not be
        self._chunk_count = 0

    @property
    def cancelled(self) -> bool:
        """Whether Dagster has terminated the run."""
        return self._cancellation.cancelled

    @property
    def chunk_count(self) -> int:
        """The number of chunks that have been stored, heartbeats included."""
        return self._chunk_count

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that made the channel."""
        return os.getpid() != self._process_id

    def write_message(self, message: PipesMessage) -> None:
        """Write a message; wait if the buffer is full.

        `log_external_stream` neither waits nor fails: output that does not fit is dropped, and counted.

        Raises:
            PipesDuplicateCallError: At the first message: another delivery of this call has claimed the session.
            PipesMessagesNotStoredError: An upload failed for good; this message and perhaps others are not stored.
            PipesCancelledError: Dagster has terminated the run.
            PipesDeadlineExceededError: The run has taken as long as it may.
            DagsterPipesError: The message is not JSON serializable, too large, or nested too deep; the channel is
                closed; or this is a forked child.
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
        """Wait until all messages are stored, until the run's deadline, or `upload_timeout` seconds if it has none.

        Raises:
            PipesMessagesNotStoredError: An upload failed for good, now or earlier.
        """
        if self.is_inherited or self._uploader.ident is None:
            return
        self._cancellation.stop()
        now = time.monotonic()
        known = math.isfinite(self._give_up_at)
        self._give_up_at = max(self._give_up_at, now + MIN_FLUSH_TIMEOUT) if known else now + self._upload_timeout
        self._buffer.finish()
        self._uploader.join(self._give_up_at - now + JOIN_RESERVE)
        if self._uploader.is_alive():
            self._fail(TimeoutError(f"an upload was still under way after {time.monotonic() - now:.0f} s"))
        if self._failure:
            raise self._not_stored()

    def _refuse_in_child(self, method: str) -> None:
        if method != "closed":  # which the child writes when it leaves the parent's session; that stays open
            raise DagsterPipesError(
                f"Cannot send the Pipes message `{method}` from a forked child process: only the process that opened "
                "the Pipes session can. Return the result to it, and send the message there."
            )

    def _claim(self, line: bytes) -> None:
        now = time.monotonic()
        self._give_up_at = min(now + self._upload_timeout, max(self._deadline.flush_until, now + MIN_FLUSH_TIMEOUT))
        try:
            self._upload(Chunk(line, message_count=1))
        except PipesObjectExistsError as error:
            raise PipesDuplicateCallError(
                f"Another delivery of this call has claimed the session at {self._prefix.uri}; "
                "this one does not run the function's code again."
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
                raise self._not_stored()

    def _check(self) -> None:
        self._cancellation.check()
        self._deadline.check()

    def _seal(self, closed: bytes) -> None:
        dropped = self._buffer.seal()
        if not dropped or self._failure:
            self._buffer.finish(closed)
            return
        text = (
            f"[pipes] {dropped:,} pieces of the function's output were dropped here: it printed faster than they could "
            "be stored. The function's own log has them."
        )
        self._buffer.finish(encode_message(make_message("log", {"message": text, "level": "WARNING"})), closed)
        log(logging.WARNING, text)

    def _upload_chunks(self) -> None:
        try:
            self._cancellation.start()
            while (chunk := self._buffer.take(self._heartbeat_interval)) or not self._buffer.drained:
                self._upload(chunk or HEARTBEAT_CHUNK)
        except Exception as error:  # noqa: BLE001 - re-raised, as the cause, in the request's own thread
            self._fail(error)

    def _upload(self, chunk: Chunk) -> None:
        """Upload the next chunk; start again when that hangs, with the same bytes, which tell whose chunk is stored."""
        self._in_upload = chunk.message_count
        while not self._failure:
            try:
                self._store.create(self._next_key(), chunk.data, timeout=self._attempt_timeout(len(chunk.data)))
            except PipesStorageError as error:
                if not error.transient or time.monotonic() >= self._give_up_at:
                    raise
            else:
                self._chunk_count += 1
                self._in_upload = 0
                return

    def _attempt_timeout(self, size: int) -> float:
        """Return how long an upload may hang: as its size says, however many hung before."""
        hanging = max(MIN_ATTEMPT_TIMEOUT, min(MAX_ATTEMPT_TIMEOUT, self._heartbeat_interval / 2))
        remaining = self._give_up_at - time.monotonic()
        least = MIN_FLUSH_TIMEOUT if self._chunk_count else 0.0  # the claim's timeout is a bound of all its attempts
        return min(hanging + size / MIN_UPLOAD_RATE, max(remaining, least))

    def _next_key(self) -> str:
        return self._prefix.chunk_key(self._chunk_count + 1)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._buffer.fail()

    def _not_stored(self) -> PipesMessagesNotStoredError:
        count = self._in_upload + self._buffer.dropped
        error = PipesMessagesNotStoredError(
            f"{count} Pipes messages could not be stored after chunk {self._chunk_count} of {self._prefix.uri}: "
            f"{self._failure}"
        )
        error.__cause__ = self._failure
        return error


class PipesCloudStorageMessageWriter(PipesMessageWriter[PipesCloudStorageMessageWriterChannel]):
    """Message writer that writes chunks of messages to a Cloud Storage bucket.

    One writer serves a whole process: all state of a session lives in its channel. What it writes can be read by
    `dagster_gcf_pipes.PipesCloudStorageMessageReader` and by the stock `dagster_gcp.PipesGCSMessageReader`.

    Memory of a session is bounded by `max_buffer_bytes` and one chunk under way, always. At the bound, because messages
    are written faster than they are uploaded or because the bucket is away, the next Pipes call waits for room, until
    the run's deadline or its cancellation; forwarded output is dropped, and its loss reported. Transient errors of
    Cloud Storage cost time and nothing else. When an upload has failed for good, because a permission is missing or the
    time is over, nothing is kept any more, and the next Pipes call raises `PipesMessagesNotStoredError`.

    Args:
        client: The Cloud Storage client to use. Defaults to one with the environment's own credentials, created when
            the first session opens.
        flush_interval: Seconds that a message waits for others before its chunk is uploaded, at most 5. Default 0.2.
        max_chunk_bytes: Size at which a chunk is uploaded without waiting, in bytes, at most 64 MiB. Default 1 MiB.
        max_buffer_bytes: Size of the messages that may wait for their upload, in bytes, at least 1. Default 8 MiB.
        upload_timeout: Seconds that the first upload, which claims the session, may take with its retries, and that the
            last flush may take if the run's deadline is not known. Other uploads are retried until the run's deadline.
            At most 3600. Default 30.
        heartbeat_interval: Seconds without a chunk after which a heartbeat is written, so that Dagster knows that the
            function lives, at most 3600. Default 10.
        allowed_locations: The buckets and the prefix that a call may name. Defaults to what the environment variables
            `GCF_PIPES_BUCKETS` and `GCF_PIPES_KEY_PREFIX` say.

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
        self._get_client = client_getter(client)
        self._flush_interval = flush_interval
        self._max_chunk_bytes = max_chunk_bytes
        self._max_buffer_bytes = max_buffer_bytes
        self._upload_timeout = upload_timeout
        self._heartbeat_interval = float(heartbeat_interval)

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
        channel = self.open_channel(params, CallDeadline())
        try:
            yield channel
        finally:
            channel.close()

    def open_channel(self, params: PipesParams, deadline: CallDeadline) -> PipesCloudStorageMessageWriterChannel:
        """Return a session's channel for a run that must end in time; whoever opens it closes it.

        Args:
            params: The params that the message reader has made.
            deadline: When the run must end.

        Raises:
            PipesRequestError: As `open` raises it.
        """
        prefix = self.locate(params)
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
        )

    def locate(self, params: PipesParams) -> SessionPrefix:
        """Return where a session keeps its objects.

        Raises:
            PipesRequestError: A param is missing or of the wrong type, or names a place that a call may not name.
        """
        prefix = _prefix(params)
        self._allowed_locations.check(prefix.bucket, prefix.path, "messages")
        return prefix

    def get_opened_extras(self) -> PipesExtras:
        """What `opened` tells Dagster; the id makes each delivery's first chunk unlike any other's."""
        return {**OpenedExtras(delivery_id=uuid.uuid4().hex, heartbeat_interval=self._heartbeat_interval)}


def _check_seconds(name: str, seconds: float) -> None:
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"Expected `{name}` to be more than 0 s and at most {MAX_SECONDS:g} s, got {seconds!r}.")


def _prefix(params: PipesParams) -> SessionPrefix:
    try:
        validate_json(params, _MessagesParams, "the messages params")
    except JsonValidationError as error:
        raise PipesRequestError(str(error)) from error
    bucket = get_param(params, BUCKET_PARAM, "messages")
    return SessionPrefix(bucket, path=params.get(KEY_PREFIX_PARAM) or "")
