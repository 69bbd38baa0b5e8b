"""Gathers messages into chunks and decides when to upload them. It has no threads and no storage of its own."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Final

CHECK_INTERVAL: Final = 0.5
"""Seconds between two calls of `may_wait`."""


class SealedError(Exception):
    """The buffer takes no more messages."""


@dataclass(frozen=True)
class Chunk:
    """Some messages, ready to be uploaded as one object.

    Attributes:
        data: Newline-delimited JSON.
        message_count: How many messages it holds.
    """

    data: bytes
    message_count: int


class ChunkBuffer:
    """A bounded buffer between the threads that write messages and the thread that uploads them.

    A chunk is due when it is full, or when the flush interval since its first message has passed. While the buffer is
    full, `put` waits, `offer` drops, and a chunk is due. This bounds the function's memory.

    A sealed buffer accepts no more messages, except the last ones from `end_writing`. Chunks can still be taken from
    it. A failed buffer keeps nothing.

    Args:
        flush_interval: Seconds from the first message of a chunk until the chunk is due.
        max_chunk_bytes: Size at which a chunk is full, in bytes. A larger message is a chunk by itself.
        max_buffer_bytes: Size at which the buffer is full, in bytes. A larger message goes in when it is empty.
    """

    def __init__(self, *, flush_interval: float, max_chunk_bytes: int, max_buffer_bytes: int) -> None:
        self._flush_interval = flush_interval
        self._max_chunk_bytes = max_chunk_bytes
        self._max_buffer_bytes = max_buffer_bytes
        self._lines: deque[tuple[float, bytes]] = deque()  # with the time at which each is due
        self._bytes = self._all_bytes = 0
        self._waiting_writers = 0
        self._dropped = 0
        self._sealed = False
        self._writing_ended = False
        self._failed = False
        self._changed = Condition()

    @property
    def dropped(self) -> int:
        """How many messages were dropped because the buffer was full or has failed."""
        return self._dropped

    @property
    def all_bytes(self) -> int:
        """The size of all messages so far, in bytes."""
        return self._all_bytes

    @property
    def drained(self) -> bool:
        """Whether no chunk will be due any more."""
        return self._failed or (self._writing_ended and not self._lines)

    def put(self, line: bytes, may_wait: Callable[[], None]) -> None:
        """Add a message. Wait while the buffer is full.

        Args:
            line: The message.
            may_wait: Called twice a second while this waits. It raises to stop the waiting.

        Raises:
            SealedError: The buffer is sealed.
        """
        with self._changed:
            self._wait_for_room(len(line), may_wait)
            self._add(line)

    def offer(self, line: bytes) -> None:
        """Add a message if there is room, and drop it otherwise.

        Raises:
            SealedError: The buffer is sealed.
        """
        with self._changed:
            if self._is_open() and not self._has_room(len(line)):
                self._dropped += 1
            else:
                self._add(line)

    def drop(self) -> None:
        """Count a message as dropped."""
        with self._changed:
            self._dropped += 1

    def seal(self) -> int:
        """Accept no more messages, not even those that wait for room. Return how many were dropped.

        Raises:
            SealedError: The buffer is sealed already.
        """
        with self._changed:
            if self._sealed:
                raise SealedError
            self._sealed = True
            self._changed.notify_all()
            return self._dropped

    def end_writing(self, *last_lines: bytes) -> None:
        """Seal the buffer and add its last messages, even if they do not fit. All its messages are due now."""
        with self._changed:
            for line in last_lines:
                self._append(line)
            self._sealed = self._writing_ended = True
            self._changed.notify_all()

    def fail(self) -> None:
        """Drop all messages, now and later."""
        with self._changed:
            self._failed = True
            self._dropped += len(self._lines)
            self._lines.clear()
            self._bytes = 0
            self._changed.notify_all()

    def take(self, timeout: float) -> Chunk | None:
        """Wait until a chunk is due and take it. None after `timeout` seconds, or if the buffer is drained."""
        give_up_at = time.monotonic() + timeout
        with self._changed:
            while not self._is_due() and not self.drained:
                wake_at = min(give_up_at, self._lines[0][0]) if self._lines else give_up_at
                if not self._changed.wait(wake_at - time.monotonic()) and time.monotonic() >= give_up_at:
                    break
            return self._take() if self._is_due() else None

    def _is_open(self) -> bool:
        return not self._sealed and not self._failed

    def _wait_for_room(self, size: int, may_wait: Callable[[], None]) -> None:
        if not self._is_open() or self._has_room(size):
            return
        self._waiting_writers += 1
        self._changed.notify_all()
        try:
            while self._is_open() and not self._has_room(size):
                may_wait()
                self._changed.wait(CHECK_INTERVAL)
        finally:
            self._waiting_writers -= 1

    def _has_room(self, size: int) -> bool:
        return self._bytes == 0 or self._bytes + size <= self._max_buffer_bytes

    def _add(self, line: bytes) -> None:
        if self._sealed:
            raise SealedError
        self._append(line)
        self._changed.notify_all()

    def _append(self, line: bytes) -> None:
        if self._failed:
            self._dropped += 1
            return
        self._lines.append((time.monotonic() + self._flush_interval, line))
        self._bytes += len(line)
        self._all_bytes += len(line)

    def _is_due(self) -> bool:
        if not self._lines:
            return False
        full = self._bytes >= self._max_chunk_bytes or self._waiting_writers > 0
        return self._writing_ended or full or time.monotonic() >= self._lines[0][0]

    def _take(self) -> Chunk:
        lines = [self._lines.popleft()[1]]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0][1]) <= self._max_chunk_bytes:
            lines.append(self._lines.popleft()[1])
            size += len(lines[-1])
        self._bytes -= size
        self._changed.notify_all()
        return Chunk(data=b"".join(lines), message_count=len(lines))
