"""Fetches the chunks of one session in order, some way ahead of their handling: the pacing of the reader."""

import time
from collections import deque
from collections.abc import Iterator
from threading import Condition, Thread
from typing import Final, TypeAlias

from gcf_pipes._protocol import SessionLocation
from gcf_pipes._storage import ObjectStore

FIRST_DELAY: Final = 0.05
"""Seconds between the first looks for a chunk, and until the very first one."""
FETCH_AHEAD: Final = 4
"""Chunks that wait in memory for their handling."""
MAX_CHUNK_BYTES: Final = 64 * 1024 * 1024
"""The largest chunk that is read, in bytes. A writer fills chunks of 1 MiB; a larger message is a chunk by itself."""
READ_TIMEOUT: Final = 60.0
"""Seconds for which one look is retried when Cloud Storage answers with transient errors."""


FetchedChunk: TypeAlias = tuple[int, bytes]
"""The number of a chunk, and its content."""


def delay_before_next_look(idle: float, poll_interval: float) -> float:
    """Seconds to wait after a look that found nothing, `idle` seconds after the last chunk.

    The delay is half of the time that has passed, so that a chunk is found at most a third of its waiting time late,
    within the bounds of `FIRST_DELAY` and `poll_interval`.
    """
    return min(max(idle / 2, FIRST_DELAY), poll_interval)


class ChunkFetcher:
    """Looks for the next chunk in a thread of its own; a look is one GET.

    Memory is bounded by `FETCH_AHEAD` chunks of at most `MAX_CHUNK_BYTES`: while so many wait, nothing is fetched,
    and the bucket keeps the backlog.

    Args:
        store: The bucket.
        location: Where the session keeps its objects.
        poll_interval: The longest pause between two looks, in seconds.
        drain_timeout: Seconds for which to look for further chunks after the function has ended without saying how many
            there are.
    """

    def __init__(
        self, store: ObjectStore, location: SessionLocation, *, poll_interval: float, drain_timeout: float
    ) -> None:
        self._store = store
        self._location = location
        self._poll_interval = poll_interval
        self._drain_timeout = drain_timeout
        self._fetched: deque[FetchedChunk] = deque()
        self._next_index = 1
        self._ended_at: float | None = None
        self._expected: int | None = None
        self._stopped = False
        self._finished = False
        self._failure: Exception | None = None
        self._changed = Condition()
        self._thread = Thread(target=self._fetch_all, name=f"pipes fetcher {location.uri}", daemon=True)

    def start(self) -> None:
        """Start looking for chunk 1."""
        self._thread.start()

    def function_ended(self, expected: int | None) -> None:
        """Say that nothing more will be written, and how many chunks there are if that is known."""
        with self._changed:
            self._expected = expected
            self._ended_at = time.monotonic()
            self._changed.notify_all()

    def stop(self) -> None:
        """Fetch nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, or until `timeout` seconds have passed."""
        self._thread.join(timeout)

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
            self._changed.wait_for(lambda: self._fetched or self._finished or self._stopped)
            if self._stopped or not self._fetched:
                return None
            self._changed.notify_all()
            return self._fetched.popleft()

    def _fetch_all(self) -> None:
        try:
            self._pause(FIRST_DELAY, ended_at=None)
            while (data := self._fetch_next()) is not None:
                self._put(data)
        except Exception as error:  # noqa: BLE001 - re-raised in the thread that handles the chunks
            self._failure = error
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def _put(self, data: bytes) -> None:
        with self._changed:
            self._next_index += 1
            self._fetched.append((self._next_index - 1, data))
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._fetched) < FETCH_AHEAD or self._stopped)

    def _fetch_next(self) -> bytes | None:
        """Look for the next chunk until it is there; None if it will not come."""
        idle_since = time.monotonic()
        key = self._location.chunk_key(self._next_index)
        while not self._stopped and not self._have_all():
            ended_at = self._ended_at
            data = self._store.read(key, max_bytes=MAX_CHUNK_BYTES, timeout=READ_TIMEOUT)
            if data is not None:
                return data
            if ended_at is not None and self._will_not_come(max(idle_since, ended_at)):
                return None
            delay = delay_before_next_look(time.monotonic() - idle_since, self._poll_interval)
            self._pause(delay, ended_at=ended_at)
        return None

    def _have_all(self) -> bool:
        return self._expected is not None and self._next_index > self._expected

    def _will_not_come(self, waiting_since: float) -> bool:
        """Whether a chunk that was not there after the function had ended is lost.

        Cloud Storage is strongly consistent, so what has been written is there.
        Source: https://cloud.google.com/storage/docs/consistency ("read-after-write").
        """
        return self._expected is not None or time.monotonic() - waiting_since > self._drain_timeout

    def _pause(self, seconds: float, *, ended_at: float | None) -> None:
        """Wait, but not if the function has ended since `ended_at` was read, or if the fetcher is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._ended_at != ended_at, seconds)
