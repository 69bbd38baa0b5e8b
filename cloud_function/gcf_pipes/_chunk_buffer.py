"""Gathers messages into chunks: the pacing of the writer, without threads or storage of its own."""

import time
from collections import deque
from dataclasses import dataclass
from threading import Condition


@dataclass(frozen=True)
class Chunk:
    """Some messages, ready to be uploaded as one object.

    Attributes:
        data: Newline-delimited JSON.
        message_count: How many messages that is.
    """

    data: bytes
    message_count: int


class ChunkBuffer:
    """A bounded buffer between the threads that write messages and the one that uploads them.

    A chunk is due when it is full, or when the flush interval since its first message has passed. While the buffer is
    full, its writers wait, and a chunk is due as well; that is what bounds the memory of the function.

    Args:
        flush_interval: Seconds from the first message of a chunk until the chunk is due.
        max_chunk_bytes: Size at which a chunk is full, in bytes. A larger message is a chunk by itself.
        max_buffer_bytes: Size at which the buffer is full, in bytes.
    """

    def __init__(self, *, flush_interval: float, max_chunk_bytes: int, max_buffer_bytes: int) -> None:
        self._flush_interval = flush_interval
        self._max_chunk_bytes = max_chunk_bytes
        self._max_buffer_bytes = max_buffer_bytes
        self._lines: deque[tuple[float, bytes]] = deque()  # with the time at which a chunk that starts there is due
        self._bytes = 0
        self._waiting_writers = 0
        self._closed = False
        self._changed = Condition()

    def put(self, line: bytes) -> None:
        """Add a message; wait while the buffer is full, unless it is closed."""
        with self._changed:
            self._wait_for_room(len(line))
            self._lines.append((time.monotonic() + self._flush_interval, line))
            self._bytes += len(line)
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the buffer has been closed."""
        return self._closed

    def take_due(self, timeout: float) -> Chunk | None:
        """Wait until a chunk is due and take it; None after `timeout` seconds, or as soon as the buffer is closed."""
        give_up_at = time.monotonic() + timeout
        with self._changed:
            while not self._closed and not self._is_due():
                wake_at = min(give_up_at, self._lines[0][0]) if self._lines else give_up_at
                if not self._changed.wait(wake_at - time.monotonic()) and time.monotonic() >= give_up_at:
                    break
            return self._take() if self._is_due() and not self._closed else None

    def take(self) -> Chunk | None:
        """Take the next chunk, due or not; None if the buffer is empty."""
        with self._changed:
            return self._take() if self._lines else None

    def close(self) -> None:
        """End the waiting of both sides. What is in the buffer stays there for `take`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """The number of messages in the buffer."""
        return len(self._lines)

    def _wait_for_room(self, size: int) -> None:
        if self._has_room(size):
            return
        self._waiting_writers += 1
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._closed or self._has_room(size))
        self._waiting_writers -= 1

    def _has_room(self, size: int) -> bool:
        return self._bytes == 0 or self._bytes + size <= self._max_buffer_bytes

    def _is_due(self) -> bool:
        if not self._lines:
            return False
        full = self._bytes >= self._max_chunk_bytes or self._waiting_writers > 0
        return full or time.monotonic() >= self._lines[0][0]

    def _take(self) -> Chunk:
        lines = [self._lines.popleft()[1]]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0][1]) <= self._max_chunk_bytes:
            lines.append(self._lines.popleft()[1])
            size += len(lines[-1])
        self._bytes -= size
        self._changed.notify_all()
        return Chunk(data=b"".join(lines), message_count=len(lines))
