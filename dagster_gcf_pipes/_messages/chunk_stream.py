"""Reads the chunks of one session, in order. The pacing of the reader is here."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Condition
from typing import Final, TypeVar

from gcf_pipes import PipesStorageError
from gcf_pipes._shared.protocol import HEARTBEAT, MAX_CHUNK_BYTES, SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._messages.backlog import Backlog
from dagster_gcf_pipes._messages.read_ahead import ReadAhead

FIRST_DELAY: Final = 0.05
"""Seconds between the first polls for a chunk, and before the very first one."""
READ_TIMEOUT: Final = 10.0
"""Seconds that one poll may take, with its retries. While Cloud Storage is unavailable, one poll follows another."""
MAX_READ_TIMEOUT: Final = 320.0
"""Seconds that a poll may take after several that took too long: a chunk of 64 MiB on a line of 2 Mbit/s."""

MIN_DRAIN_DEADLINE: Final = 60.0
"""Seconds to retry at least while Cloud Storage is unavailable: from the end of writing, and from the last chunk."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class WritingEnded:
    """Nobody will write another chunk, or nobody waits for it.

    Attributes:
        chunk_count: How many chunks there are, or None if that is not known.
        drain_until: If the count is not known: until when to poll for further chunks (`time.monotonic`). The chunks in
            the bucket at that time are read, and no more.
        deadline: Until when to retry while Cloud Storage is unavailable (`time.monotonic`). Handling a chunk does
            not count: each poll may be retried for `MIN_DRAIN_DEADLINE`.
    """

    chunk_count: int | None
    drain_until: float
    deadline: float


def delay_before_next_poll(idle: float, poll_interval: float) -> float:
    """Seconds to wait after a poll that found nothing, `idle` seconds after the last chunk with messages.

    The delay is half of the idle time, between `FIRST_DELAY` and `poll_interval`. So the reader finds a chunk at most a
    third of its waiting time late.
    """
    return min(max(idle / 2, FIRST_DELAY), poll_interval)


class ChunkStream:
    """Yields the chunks of one session. It polls in the thread that iterates; a poll is one GET.

    As soon as the number of chunks is known, the rest of them is read in parallel. A poll under way goes on meanwhile.

    While Cloud Storage is unavailable, it retries: as long as somebody may write, and then until a deadline.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        poll_interval: The longest pause between two polls, in seconds.
    """

    def __init__(self, store: ObjectStore, prefix: SessionPrefix, *, poll_interval: float) -> None:
        self._store = store
        self._prefix = prefix
        self._poll_interval = poll_interval
        self._next_index = 1
        self._is_polling = False
        self._last_index: int | None = None
        self._read_ahead: ReadAhead | None = None
        self._writing_ended: WritingEnded | None = None
        self._stopped = False
        self._active_at = self._alive_at = self._waiting_since = time.monotonic()
        self._silent_for = 0.0
        self._backlog = Backlog()
        self._changed = Condition()

    @property
    def is_behind(self) -> bool:
        """Whether chunks are written faster than they are handled."""
        return self._backlog.is_behind

    @property
    def silent_for(self) -> float:
        """Seconds from the last chunk, a heartbeat included, to the last poll that found none.

        Time in which nothing can be known does not count: while Cloud Storage is unavailable, between two polls, and
        while a chunk is handled.
        """
        return self._silent_for

    @property
    def writing_ended(self) -> WritingEnded | None:
        """What `end_writing` announced, or None."""
        return self._writing_ended

    def end_writing(self, ended: WritingEnded) -> None:
        """Announce that nobody will write another chunk, or that nobody waits for it."""
        with self._changed:
            self._writing_ended = ended
            self._waiting_since = time.monotonic()
            if ended.chunk_count is not None:
                self._expect(ended.chunk_count)
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """Poll no more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the content of each chunk, in order, until there are no more or `stop` is called.

        Raises:
            PipesStorageError: The bucket could not be read.
        """
        self._active_at = self._alive_at = time.monotonic()
        self._pause(FIRST_DELAY, known=None)
        while (data := self._wait_for_chunk()) is not None:
            self._note_life()
            yield self._next_index - 1, data
            self._note_life()  # nothing was polled while the chunk was handled
            self._waiting_since = self._alive_at
            if data != HEARTBEAT:  # poll an idle function like a silent one
                self._active_at = self._alive_at

    def _wait_for_chunk(self) -> bytes | None:
        """Wait for the next chunk; return None if it will not come."""
        while not self._stopped and not self._have_all():
            ended, all_written = self._writing_ended, self._last_index is not None
            data = self._poll()
            if data is not None:
                self._backlog.chunk_found()
                return data
            self._backlog.none_found()
            if all_written:
                return None  # it is missing: Cloud Storage is strongly consistent, so a written chunk is there
            self._silent_for = time.monotonic() - self._alive_at
            self._pause(self._delay(ended), known=ended)
        return None

    def _poll(self) -> bytes | None:
        """Return the next chunk if it is there. It may have been read ahead."""
        with self._changed:
            self._is_polling = True
        data = self._read_ahead.take(self._next_index) if self._read_ahead else None
        if data is None:
            data = self._until_available(lambda timeout: self._read(self._next_index, timeout))
        with self._changed:
            self._is_polling = False
            self._next_index += data is not None
        return data

    def _read(self, index: int, timeout: float) -> bytes | None:
        return self._store.read(self._prefix.chunk_key(index), max_bytes=MAX_CHUNK_BYTES, timeout=timeout)

    def _expect(self, last_index: int) -> None:
        """Read the rest of the chunks in parallel. The poll under way reads its own."""
        self._last_index = last_index
        rest = range(self._next_index + self._is_polling, last_index + 1)
        self._read_ahead = ReadAhead(partial(self._read, timeout=READ_TIMEOUT), rest)

    def _have_all(self) -> bool:
        """Whether all chunks were read. If nobody knows their number, count them in the bucket at `drain_until`.

        Source: https://cloud.google.com/storage/docs/consistency (a list shows all earlier writes).
        """
        ended = self._writing_ended
        if ended and self._last_index is None and time.monotonic() >= ended.drain_until:
            keys = self._until_available(
                lambda timeout: self._store.list_keys(self._prefix.object_prefix, timeout=timeout)
            )
            self._expect(max((self._prefix.chunk_index(key) or 0 for key in keys or ()), default=0))
        return self._last_index is not None and self._next_index > self._last_index

    def _delay(self, ended: WritingEnded | None) -> float:
        delay = delay_before_next_poll(time.monotonic() - self._active_at, self._poll_interval)
        return min(delay, max(0.0, ended.drain_until - time.monotonic())) if ended else delay

    def _until_available(self, request: Callable[[float], Result]) -> Result | None:
        """Make a request to Cloud Storage, and retry while it may become available; return None if stopped.

        Each retry has twice the time: a large chunk on a slow line may need it.

        Raises:
            PipesStorageError: It stayed unavailable until the deadline, or a retry would fail in the same way.
        """
        timeout = READ_TIMEOUT
        while not self._stopped:
            try:
                return request(timeout)
            except PipesStorageError as error:
                ended = self._writing_ended
                if not error.transient or (ended and time.monotonic() >= self._deadline(ended)):
                    raise
                timeout = min(2 * timeout, MAX_READ_TIMEOUT)
                self._note_life()  # nobody can know whether the function lives
                self._pause(FIRST_DELAY, known=ended)
        return None

    def _deadline(self, ended: WritingEnded) -> float:
        return max(ended.deadline, self._waiting_since + MIN_DRAIN_DEADLINE)

    def _note_life(self) -> None:
        self._alive_at = time.monotonic()
        self._silent_for = 0.0

    def _pause(self, seconds: float, *, known: WritingEnded | None) -> None:
        """Wait, but return at once if `end_writing` brings news, or if the stream is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._writing_ended is not known, seconds)
