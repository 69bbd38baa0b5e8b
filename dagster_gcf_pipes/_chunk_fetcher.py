"""Fetches the chunks of one session in order, some way ahead of their handling: the pacing of the reader."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Final, TypeAlias, TypeVar

from gcf_pipes import PipesStorageError
from gcf_pipes._protocol import HEARTBEAT, MAX_CHUNK_BYTES, SessionPrefix
from gcf_pipes._storage import ObjectStore

FIRST_DELAY: Final = 0.05
"""Seconds between the first polls for a chunk, and until the very first one."""
FETCH_AHEAD: Final = 4
"""Chunks that wait in memory for their handling."""
READ_TIMEOUT: Final = 10.0
"""Seconds that one poll may take, with its retries. While Cloud Storage is unavailable, one poll follows another."""
MAX_READ_TIMEOUT: Final = 320.0
"""Seconds that a poll may take after several that took too long: a chunk of 64 MiB on a line of 2 Mbit/s."""

Result = TypeVar("Result")
FetchedChunk: TypeAlias = tuple[int, bytes]
"""The number of a chunk, and its content."""


@dataclass(frozen=True)
class WritingEnded:
    """Nobody will write another chunk, or nobody waits for it.

    Attributes:
        chunk_count: How many chunks there are, or None if that is not known.
        drain_until: If the count is not known: until when to look for further chunks (`time.monotonic`). Those that are
            there by then are read, and no more.
        deadline: Until when to retry while Cloud Storage is unavailable (`time.monotonic`).
    """

    chunk_count: int | None
    drain_until: float
    deadline: float


def delay_before_next_poll(idle: float, poll_interval: float) -> float:
    """Seconds to wait after a poll that found nothing, `idle` seconds after the last chunk with messages.

    The delay is half of the time that has passed, so that a chunk is found at most a third of its waiting time late,
    within the bounds of `FIRST_DELAY` and `poll_interval`.
    """
    return min(max(idle / 2, FIRST_DELAY), poll_interval)


class ChunkFetcher:
    """Polls for the next chunk in a thread of its own; a poll is one GET.

    Memory is bounded by `FETCH_AHEAD` chunks of at most `MAX_CHUNK_BYTES`: while so many wait, nothing is fetched,
    and the bucket keeps the backlog. While Cloud Storage is unavailable, the fetcher retries: until writing has ended,
    however long; after that, until its deadline.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        poll_interval: The longest pause between two polls, in seconds.
    """

    def __init__(self, store: ObjectStore, prefix: SessionPrefix, *, poll_interval: float) -> None:
        self._store = store
        self._prefix = prefix
        self._poll_interval = poll_interval
        self._fetched: deque[FetchedChunk] = deque()
        self._next_index = 1
        self._writing_ended: WritingEnded | None = None
        self._last_index: int | None = None
        self._stopped = False
        self._done = False
        self._failure: Exception | None = None
        self._active_at = self._alive_at = time.monotonic()
        self._silent_for = 0.0
        self._changed = Condition()
        self._thread = Thread(target=self._fetch_all, name=f"pipes fetcher {prefix.uri}", daemon=True)

    def start(self) -> None:
        """Start polling for chunk 1."""
        self._active_at = self._alive_at = time.monotonic()
        self._thread.start()

    def writing_ended(self, ended: WritingEnded) -> None:
        """Say that nobody will write another chunk, or that nobody waits for it."""
        with self._changed:
            self._writing_ended = ended
            self._last_index = ended.chunk_count
            self._changed.notify_all()

    def stop(self) -> None:
        """Fetch nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, or until `timeout` seconds have passed."""
        self._thread.join(timeout)

    @property
    def silent_for(self) -> float:
        """Seconds from the last chunk, a heartbeat included, to the last poll that found none.

        Time in which nothing can be known does not count: while Cloud Storage is unavailable, between two polls, and
        while fetched chunks wait for their handling.
        """
        return self._silent_for

    def chunks(self) -> Iterator[FetchedChunk]:
        """Yield the chunks in order, as they come, until there are no more or the fetcher is stopped.

        Raises:
            PipesStorageError: The bucket could not be read.
        """
        while chunk := self._take():
            yield chunk
        if self._failure:
            raise self._failure

    def _take(self) -> FetchedChunk | None:
        with self._changed:
            self._changed.wait_for(lambda: self._fetched or self._done or self._stopped)
            if self._stopped or not self._fetched:
                return None
            self._changed.notify_all()
            return self._fetched.popleft()

    def _fetch_all(self) -> None:
        try:
            self._pause(FIRST_DELAY, known=None)
            while (data := self._fetch_next()) is not None:
                self._enqueue(data)
        except Exception as error:  # noqa: BLE001 - re-raised in the thread that handles the chunks
            self._failure = error
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _enqueue(self, data: bytes) -> None:
        with self._changed:
            self._next_index += 1
            self._fetched.append((self._next_index - 1, data))
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._fetched) < FETCH_AHEAD or self._stopped)
        self._note_life()
        if data != HEARTBEAT:  # a function that is idle is polled as one that is silent
            self._active_at = self._alive_at

    def _fetch_next(self) -> bytes | None:
        """Poll for the next chunk until it is there; None if it will not come."""
        key = self._prefix.chunk_key(self._next_index)
        while not self._stopped and not self._have_all():
            ended, all_written = self._writing_ended, self._last_index is not None
            data = self._until_available(
                lambda timeout: self._store.read(key, max_bytes=MAX_CHUNK_BYTES, timeout=timeout)
            )
            if data is not None:
                return data
            if all_written:
                return None  # it is lost: Cloud Storage is strongly consistent, so what has been written is there
            self._silent_for = time.monotonic() - self._alive_at
            self._pause(self._delay(ended), known=ended)
        return None

    def _have_all(self) -> bool:
        """Whether all chunks are fetched; when the time to look for further ones is over, this counts what is there.

        Source: https://cloud.google.com/storage/docs/consistency (a list shows what was written before).
        """
        ended = self._writing_ended
        if ended and self._last_index is None and time.monotonic() >= ended.drain_until:
            keys = self._until_available(
                lambda timeout: self._store.list_keys(self._prefix.object_prefix, timeout=timeout)
            )
            self._last_index = max((self._prefix.chunk_index(key) or 0 for key in keys or ()), default=0)
        return self._last_index is not None and self._next_index > self._last_index

    def _delay(self, ended: WritingEnded | None) -> float:
        delay = delay_before_next_poll(time.monotonic() - self._active_at, self._poll_interval)
        return min(delay, max(0.0, ended.drain_until - time.monotonic())) if ended else delay

    def _until_available(self, request: Callable[[float], Result]) -> Result | None:
        """Make a request to Cloud Storage, and retry as long as it may become available; None if stopped.

        A retry has twice the time: a large chunk on a slow line may need it.

        Raises:
            PipesStorageError: It did not until the deadline, or another request would fail in the same way.
        """
        timeout = READ_TIMEOUT
        while not self._stopped:
            try:
                return request(timeout)
            except PipesStorageError as error:
                ended = self._writing_ended
                if not error.transient or (ended and time.monotonic() >= ended.deadline):
                    raise
                timeout = min(2 * timeout, MAX_READ_TIMEOUT)
                self._note_life()  # whether the function lives cannot be known
                self._pause(FIRST_DELAY, known=ended)
        return None

    def _note_life(self) -> None:
        self._alive_at = time.monotonic()
        self._silent_for = 0.0

    def _pause(self, seconds: float, *, known: WritingEnded | None) -> None:
        """Wait, but not if something new is known of the end of writing, or if the fetcher is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._writing_ended is not known, seconds)
