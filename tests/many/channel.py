"""The real channel and the real writer of `gcf_pipes`, on the event loop and on a bucket in memory.

A thousand calls would need two thousand threads: each channel has one that uploads chunks, and one that polls for the
cancel marker. Here timers of the event loop do what these threads do. All the rest is the runtime's own code.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from dagster_pipes import PipesParams
from gcf_pipes._allowed_locations import AllowedLocations
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._chunk_buffer import Chunk, ChunkBuffer
from gcf_pipes._shared.errors import PipesBucketNotFoundError, PipesObjectExistsError
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import CONTENT_TYPE, ObjectStore
from gcf_pipes._writer import (
    DEFAULT_MAX_BUFFER_BYTES,
    DEFAULT_MAX_CHUNK_BYTES,
    DEFAULT_UPLOAD_TIMEOUT,
    HEARTBEAT_CHUNK,
    PipesCloudStorageMessageWriter,
    PipesCloudStorageMessageWriterChannel,
)

from tests.many.options import Options
from tests.many.storage_api import StorageApi, StorageApiError, Upload

if TYPE_CHECKING:
    from threading import Thread


class MemoryStore:
    """What a channel uses of `ObjectStore`, on a bucket in memory."""

    def __init__(self, api: StorageApi, bucket: str) -> None:
        self._api = api
        self._bucket = bucket

    def create(self, key: str, data: bytes, *, timeout: float) -> None:
        try:
            self._api.put(self._bucket, Upload(key, CONTENT_TYPE, data), if_generation_match="0")
        except StorageApiError as error:
            if error.status == 404:
                raise PipesBucketNotFoundError(f"the bucket {self._bucket!r} does not exist") from error
            if self._api.get(self._bucket, key).data != data:
                raise PipesObjectExistsError(f"gs://{self._bucket}/{key} exists with other content") from error

    def read(self, key: str, *, max_bytes: int, timeout: float) -> bytes | None:
        try:
            return self._api.get(self._bucket, key).data
        except StorageApiError:
            return None


class LoopChannel(PipesCloudStorageMessageWriterChannel):
    """The channel of one session, without threads."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: SessionPrefix,
        shared_prefix: SessionPrefix | None,
        deadline: CallDeadline,
        options: Options,
    ) -> None:
        buffer = ChunkBuffer(
            flush_interval=options.flush_interval,
            max_chunk_bytes=DEFAULT_MAX_CHUNK_BYTES,
            max_buffer_bytes=DEFAULT_MAX_BUFFER_BYTES,
        )
        super().__init__(
            store,
            prefix,
            buffer,
            deadline,
            upload_timeout=DEFAULT_UPLOAD_TIMEOUT,
            heartbeat_interval=options.heartbeat_interval,
            shared_prefix=shared_prefix,
        )
        self.prefix = prefix
        self._uploader = cast("Thread", _LoopThread(on_start=self._poll_later, on_join=self._upload_due))
        self._loop = asyncio.get_running_loop()
        self._poll_interval = options.cancel_poll_interval
        self._waiting_bytes = 0
        self._flush_interval = options.flush_interval
        self._flush: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._woken: asyncio.Future[None] | None = None

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.stop()

    def stop(self) -> None:
        """Write nothing more, as if the instance were gone."""
        _stop(self._flush, self._heartbeat, self._poll)

    async def wait(self, seconds: float) -> None:
        """Wait some seconds, or until the call is cancelled."""
        if self.cancelled:
            return
        self._woken = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake_up)
        await self._woken
        timer.cancel()

    def _write(self, line: bytes, method: str) -> None:
        super()._write(line, method)
        self._waiting_bytes += len(line)
        if self._waiting_bytes >= DEFAULT_MAX_CHUNK_BYTES:
            self._upload_due()
        elif self._flush is None:
            self._upload_later()

    def _upload(self, chunk: Chunk) -> None:
        super()._upload(chunk)
        _stop(self._heartbeat)
        self._heartbeat = self._loop.call_later(self.heartbeat_interval, self._upload_heartbeat)

    def _upload_later(self) -> None:
        self._flush = self._loop.call_later(self._flush_interval, self._upload_due)

    def _upload_due(self) -> None:
        _stop(self._flush)
        self._flush = None
        try:
            while chunk := self._buffer.take(0):
                self._upload(chunk)
                self._waiting_bytes -= len(chunk.data)
        except Exception as error:  # noqa: BLE001 - as in the thread
            self._fail(error)
        if self._waiting_bytes:  # the timer of the loop may be early by some milliseconds
            self._upload_later()

    def _upload_heartbeat(self) -> None:
        try:
            self._upload(HEARTBEAT_CHUNK)
        except Exception as error:  # noqa: BLE001 - as in the thread
            self._fail(error)

    def _poll_later(self) -> None:
        self._poll = self._loop.call_later(self._poll_interval, self._poll_for_cancel_marker)

    def _poll_for_cancel_marker(self) -> None:
        self._cancellation._poll()  # noqa: SLF001 - as in its thread
        if self.cancelled:
            self._wake_up()
        else:
            self._poll_later()

    def _wake_up(self) -> None:
        if self._woken and not self._woken.done():
            self._woken.set_result(None)


def _stop(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer:
            timer.cancel()


class _LoopThread:
    """What the channel uses of a thread, whose work timers do."""

    def __init__(self, *, on_start: Callable[[], None], on_join: Callable[[], None]) -> None:
        self.ident: int | None = None
        self._on_start = on_start
        self._on_join = on_join

    def start(self) -> None:
        self.ident = 1
        self._on_start()

    def join(self, timeout: float) -> None:
        self._on_join()

    def is_alive(self) -> bool:
        return False


class LoopMessageWriter(PipesCloudStorageMessageWriter):
    """The function's writer, whose channels have no threads."""

    def __init__(self, api: StorageApi, options: Options) -> None:
        super().__init__(heartbeat_interval=options.heartbeat_interval, allowed_locations=AllowedLocations())
        self._api = api
        self._options = options

    def open_channel(self, params: PipesParams, deadline: CallDeadline) -> LoopChannel:
        prefix = self.session_prefix(params)
        store: Any = MemoryStore(self._api, prefix.bucket)
        return LoopChannel(cast("ObjectStore", store), prefix, self._shared_prefix(params), deadline, self._options)
