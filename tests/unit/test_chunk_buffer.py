"""When a chunk is due, which messages it has, and what a full buffer does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from gcf_pipes._chunk_buffer import Chunk, ChunkBuffer, SealedError
from hypothesis import given
from hypothesis import strategies as st

NEVER = 3600.0
"""A flush interval that does not pass while a test runs."""
DEADLOCK = 30.0
"""Seconds after which a thread counts as stuck."""

FOREVER = 3600.0


def new_buffer(*, flush_interval: float = NEVER, max_chunk: int = 100, max_buffer: int = 1000) -> ChunkBuffer:
    return ChunkBuffer(flush_interval=flush_interval, max_chunk_bytes=max_chunk, max_buffer_bytes=max_buffer)


def put(buffer: ChunkBuffer, line: bytes) -> None:
    buffer.put(line, lambda: None)


def taken(buffer: ChunkBuffer) -> list[Chunk]:
    """End the writing and take all chunks."""
    buffer.end_writing()
    return list(iter(lambda: buffer.take(FOREVER), None))


class InThread:
    """Calls a function in a thread and returns its result."""

    def __init__(self, function: Callable[[], Chunk | None]) -> None:
        self._results: list[Chunk | None] = []
        self._thread = Thread(target=lambda: self._results.append(function()), daemon=True)
        self._thread.start()

    def result(self) -> Chunk | None:
        self._thread.join(DEADLOCK)
        assert self._results, "the thread is stuck, or it failed"
        return self._results[0]


class ProbedLine(bytes):
    """A line that signals when the buffer reads its size, which it does under its lock.

    Whoever takes the lock next finds the line in the buffer, or its writer waiting.
    """

    size_read: Event

    def __len__(self) -> int:
        self.size_read.set()
        return super().__len__()


@contextmanager
def writer_of(buffer: ChunkBuffer, content: bytes) -> Iterator[Thread]:
    """Run a thread whose line has reached the buffer. It must return by the end of the block."""
    line = ProbedLine(content)
    line.size_read = Event()
    writer = Thread(target=put, args=(buffer, line), daemon=True)
    writer.start()
    assert line.size_read.wait(DEADLOCK)
    yield writer
    writer.join(DEADLOCK)
    assert not writer.is_alive()


def test_full_chunk_is_due_at_once() -> None:
    buffer = new_buffer(max_chunk=10)
    put(buffer, b"12345")
    put(buffer, b"67890")
    assert InThread(lambda: buffer.take(FOREVER)).result() == Chunk(b"1234567890", message_count=2)


def test_message_that_fills_the_chunk_wakes_the_uploader() -> None:
    buffer = new_buffer(max_chunk=10)
    put(buffer, b"12345")
    uploader = InThread(lambda: buffer.take(FOREVER))
    put(buffer, b"67890")
    assert uploader.result() == Chunk(b"1234567890", message_count=2)


@pytest.mark.parametrize("flush_interval", [0.0, 0.01])
def test_small_chunk_is_due_after_the_interval(flush_interval: float) -> None:
    buffer = new_buffer(flush_interval=flush_interval)
    put(buffer, b"a")
    assert InThread(lambda: buffer.take(FOREVER)).result() == Chunk(b"a", message_count=1)


def test_first_message_wakes_the_uploader() -> None:
    buffer = new_buffer(flush_interval=0.0)
    uploader = InThread(lambda: buffer.take(FOREVER))
    put(buffer, b"a")
    assert uploader.result() == Chunk(b"a", message_count=1)


def test_small_chunk_is_not_due_before_the_interval() -> None:
    buffer = new_buffer()
    put(buffer, b"a")
    assert buffer.take(0.01) is None
    assert taken(buffer) == [Chunk(b"a", message_count=1)]


def test_interval_applies_to_the_rest_after_a_full_chunk() -> None:
    buffer = new_buffer(flush_interval=0.01, max_chunk=10)
    put(buffer, b"1234567890")
    put(buffer, b"a")
    assert InThread(lambda: buffer.take(FOREVER)).result() == Chunk(b"1234567890", message_count=1)
    assert InThread(lambda: buffer.take(FOREVER)).result() == Chunk(b"a", message_count=1)


def test_message_larger_than_a_chunk_is_a_chunk_by_itself() -> None:
    buffer = new_buffer(max_chunk=10)
    for line in (b"before", b"larger than a chunk", b"after"):
        put(buffer, line)
    assert [chunk.data for chunk in taken(buffer)] == [b"before", b"larger than a chunk", b"after"]


def test_message_larger_than_the_buffer_goes_in_when_it_is_empty() -> None:
    buffer = new_buffer(max_chunk=10, max_buffer=20)
    with writer_of(buffer, b"x" * 50) as writer:
        writer.join(DEADLOCK)
    assert taken(buffer) == [Chunk(b"x" * 50, message_count=1)]


def test_writer_waits_while_the_buffer_is_full() -> None:
    buffer = new_buffer(max_buffer=10)
    put(buffer, b"0123456789")
    with writer_of(buffer, b"next"):
        assert buffer.take(FOREVER) == Chunk(b"0123456789", message_count=1)
    assert taken(buffer) == [Chunk(b"next", message_count=1)]


def test_writer_waits_until_its_message_fits() -> None:
    buffer = new_buffer(max_chunk=2, max_buffer=10)
    for _ in range(5):
        put(buffer, b"ab")
    with writer_of(buffer, b"0123"):
        assert [buffer.take(FOREVER) for _ in range(2)] == [Chunk(b"ab", 1)] * 2
    assert [chunk.data for chunk in taken(buffer)] == [b"ab", b"ab", b"ab", b"0123"]


def test_fast_writer_never_exceeds_the_buffer() -> None:
    buffer = new_buffer(flush_interval=0.0, max_chunk=1_000_000, max_buffer=100)
    lines = [b"%09d\n" % number for number in range(2000)]
    filled = Event()

    def write() -> None:
        for number, line in enumerate(lines, start=1):
            put(buffer, line)
            if number == 10:
                filled.set()
        buffer.end_writing()

    writer = Thread(target=write, daemon=True)
    writer.start()
    assert filled.wait(DEADLOCK)
    chunks = list(iter(lambda: buffer.take(FOREVER), None))
    writer.join(DEADLOCK)
    assert b"".join(chunk.data for chunk in chunks) == b"".join(lines)
    assert max(len(chunk.data) for chunk in chunks) <= 100


def test_messages_of_several_writers_are_all_kept_in_the_order_of_each() -> None:
    buffer = new_buffer(flush_interval=0.0, max_chunk=50, max_buffer=100)

    def write(name: str) -> None:
        for number in range(500):
            put(buffer, f"{name}{number}\n".encode())

    writers = [Thread(target=write, args=(name,), daemon=True) for name in "abcd"]
    for writer in writers:
        writer.start()
    lines: list[str] = []
    while len(lines) < 2000:
        chunk = InThread(lambda: buffer.take(FOREVER)).result()
        assert chunk is not None
        lines += chunk.data.decode().splitlines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name}{number}" for number in range(500)]


def test_end_of_writing_wakes_the_uploader() -> None:
    buffer = new_buffer()
    uploader = InThread(lambda: buffer.take(FOREVER))
    buffer.end_writing()
    assert uploader.result() is None
    assert buffer.drained


def test_the_last_messages_are_due_whether_they_fit_or_not() -> None:
    buffer = new_buffer(max_buffer=5)
    put(buffer, b"left ")
    buffer.end_writing(b"warning ", b"closed")
    assert not buffer.drained
    assert buffer.take(FOREVER) == Chunk(b"left warning closed", message_count=3)
    assert buffer.drained


def test_a_sealed_buffer_refuses_messages_but_not_the_last_ones() -> None:
    buffer = new_buffer()
    buffer.seal()
    for add in (lambda: put(buffer, b"late"), lambda: buffer.offer(b"late"), buffer.seal):
        with pytest.raises(SealedError):
            add()
    buffer.end_writing(b"closed")
    assert taken(buffer) == [Chunk(b"closed", message_count=1)]


def test_sealing_refuses_a_message_that_waits_for_room() -> None:
    buffer = new_buffer(max_buffer=10)
    put(buffer, b"0123456789")

    def put_late() -> None:
        with pytest.raises(SealedError):
            put(buffer, line)

    line = ProbedLine(b"late")
    line.size_read = Event()
    writer = Thread(target=put_late, daemon=True)
    writer.start()
    assert line.size_read.wait(DEADLOCK)
    buffer.seal()
    writer.join(DEADLOCK)
    assert not writer.is_alive()
    assert taken(buffer) == [Chunk(b"0123456789", message_count=1)]


def test_message_that_may_not_wait_longer_is_not_added() -> None:
    def may_wait() -> None:
        raise TimeoutError

    buffer = new_buffer(max_buffer=10)
    buffer.put(b"0123456789", may_wait)
    with pytest.raises(TimeoutError):
        buffer.put(b"next", may_wait)
    assert taken(buffer) == [Chunk(b"0123456789", message_count=1)]


def test_message_offered_to_a_full_buffer_is_dropped_and_counted() -> None:
    buffer = new_buffer(max_buffer=10)
    for line in (b"0123456789", b"dropped", b"dropped"):
        buffer.offer(line)
    assert buffer.seal() == 2
    assert taken(buffer) == [Chunk(b"0123456789", message_count=1)]


def test_a_failed_buffer_keeps_nothing_and_counts_every_message() -> None:
    buffer = new_buffer(max_buffer=10)
    put(buffer, b"0123456789")
    with writer_of(buffer, b"waiting"):
        buffer.fail()
    put(buffer, b"later")
    buffer.offer(b"later")
    buffer.end_writing(b"closed")
    assert buffer.dropped == 5
    assert buffer.drained
    assert taken(buffer) == []


@given(lines=st.lists(st.binary(min_size=1, max_size=40)), max_chunk=st.integers(min_value=1, max_value=60))
def test_chunks_hold_the_lines_in_order_and_within_the_limit(lines: list[bytes], max_chunk: int) -> None:
    buffer = new_buffer(max_chunk=max_chunk, max_buffer=10_000)
    for line in lines:
        put(buffer, line)
    chunks = taken(buffer)
    assert b"".join(chunk.data for chunk in chunks) == b"".join(lines)
    assert sum(chunk.message_count for chunk in chunks) == len(lines)
    assert all(len(chunk.data) <= max_chunk or chunk.message_count == 1 for chunk in chunks)


def test_take_returns_none_after_its_timeout() -> None:
    assert new_buffer(flush_interval=3600).take(0.01) is None
