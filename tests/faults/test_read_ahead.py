"""The chunks that a response announces are read in parallel: each once, in order, and not too many at a time."""

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock
from time import monotonic

import pytest
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore
from google.cloud import storage

from dagster_gcf_pipes._messages.chunk_stream import ChunkStream, WritingEnded
from dagster_gcf_pipes._messages.read_ahead import PARALLEL_READS
from dagster_gcf_pipes.local import Emulator
from tests.dagster_runs import calling_asset, run
from tests.faults.matrix import LINES, chunk
from tests.faults.plan import (
    EVERY,
    READ,
    STORAGE_UNAVAILABLE,
    Action,
    DelayUntil,
    Exchange,
    Fault,
    Gather,
    Reply,
    Stall,
    first,
)
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient, ProxiedStack, run_proxied_stack
from tests.storage.servers import store_at
from tests.waiting import in_background, wait_until

COUNT = 40


class Gauge(Action):
    """Forwards, and knows how many requests were under way at the same time."""

    def __init__(self) -> None:
        self.most = 0
        self._under_way = 0
        self._lock = Lock()

    def apply(self, exchange: Exchange) -> Reply:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        exchange.wait(0.02)
        reply = exchange.forward()
        with self._lock:
            self._under_way -= 1
        return reply


@pytest.fixture
def stack(emulator: Emulator) -> Iterator[ProxiedStack]:
    with run_proxied_stack(emulator) as stack:
        yield stack


def lines_of_a_run(stack: ProxiedStack, *faults: Fault) -> list[str]:
    """Call a function whose messages are a chunk each, and return its lines in the order of Dagster's log."""
    event = {"key": uuid.uuid4().hex, "lines": LINES, "status": 200}
    client = ProxiedClient(bucket=stack.bucket, api_endpoint=stack.links["reader"].url)
    with stack.links["reader"].planned(*faults):
        result, lines = run(calling_asset(stack.links["call"].url, event), client)
    assert result.success
    return [line for line in lines if line in LINES]


def reads(proxy: FaultProxy) -> Counter[str | None]:
    return Counter(request.object_name for request in proxy.requests if request.kind == READ.kind)


def test_a_response_lets_all_chunks_be_read_at_once_although_a_poll_is_under_way(stack: ProxiedStack) -> None:
    """The first poll and the reads of all other chunks wait for each other. `opened` and `closed` are chunks too."""
    together = Fault(READ, Gather(Barrier(len(LINES) + 2)), at=first(len(LINES) + 2), minimum=len(LINES) + 2)
    assert lines_of_a_run(stack, together) == LINES
    assert set(reads(stack.links["reader"]).values()) == {1}


def test_some_reads_fail_and_the_rest_wait_for_them(stack: ProxiedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll for chunk 1 waits until the others were read or have failed. One of them gets no answer at all."""
    monkeypatch.setattr("dagster_gcf_pipes._messages.chunk_stream.READ_TIMEOUT", 1.0)
    others_tried = Event()
    last = len(LINES) + 2
    faults = (
        Fault(chunk(READ, 1), DelayUntil(others_tried)),
        Fault(chunk(READ, 2), STORAGE_UNAVAILABLE, at=first(2), minimum=2),
        Fault(chunk(READ, 3), Stall(60)),
        Fault(chunk(READ, last), Gate(others_tried)),
    )
    assert lines_of_a_run(stack, *faults) == LINES
    answered = [request for request in stack.links["reader"].requests if request.kind == READ.kind and request.status]
    found = Counter(request.object_name for request in answered if request.status == 200)
    assert sorted(found.values()) == [1] * last


class Gate(Action):
    """Forwards, and lets others go on."""

    def __init__(self, opened: Event) -> None:
        self._opened = opened

    def apply(self, exchange: Exchange) -> Reply:
        reply = exchange.forward()
        self._opened.set()
        return reply


# ------------------------------------------------------------------------------------------------- the stream by itself


def stored_chunks(storage_client: storage.Client, bucket: str, count: int) -> SessionPrefix:
    """Store so many chunks in a new session."""
    prefix = SessionPrefix(bucket, uuid.uuid4().hex)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: _store(storage_client, prefix, index), range(1, count + 1)))
    return prefix


def _store(storage_client: storage.Client, prefix: SessionPrefix, index: int) -> None:
    storage_client.bucket(prefix.bucket).blob(prefix.chunk_key(index)).upload_from_string(b"%d" % index)


def ended_stream(store: ObjectStore, prefix: SessionPrefix, count: int | None) -> ChunkStream:
    stream = ChunkStream(store, prefix, poll_interval=1.0)
    stream.end_writing(WritingEnded(count, drain_until=monotonic(), deadline=monotonic()))
    return stream


def expected(count: int) -> list[tuple[int, bytes]]:
    return [(index, b"%d" % index) for index in range(1, count + 1)]


@pytest.mark.parametrize("count_is_known", [True, False])
def test_not_too_many_chunks_are_read_at_a_time(
    emulator: Emulator, bucket: str, storage_client: storage.Client, *, count_is_known: bool
) -> None:
    prefix, gauge = stored_chunks(storage_client, bucket, COUNT), Gauge()
    with FaultProxy(emulator.url, [Fault(READ, gauge, EVERY)]) as proxy, store_at(proxy.url, bucket) as store:
        stream = ended_stream(store, prefix, COUNT if count_is_known else None)
        assert list(stream.chunks()) == expected(COUNT)
        assert sum(reads(proxy).values()) == COUNT
    assert 2 < gauge.most <= PARALLEL_READS


def test_a_chunk_that_waits_for_its_turn_counts(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    """While Dagster handles a chunk, no more than these are held in memory."""
    prefix = stored_chunks(storage_client, bucket, COUNT)
    with FaultProxy(emulator.url) as proxy, store_at(proxy.url, bucket) as store:
        chunks = ended_stream(store, prefix, COUNT).chunks()
        next(chunks)
        wait_until(lambda: len(proxy.requests) == PARALLEL_READS)
        assert [next(chunks) for _ in range(2, COUNT + 1)] == expected(COUNT)[1:]


def test_a_missing_chunk_ends_the_reading(emulator: Emulator, bucket: str, storage_client: storage.Client) -> None:
    prefix = stored_chunks(storage_client, bucket, COUNT)
    storage_client.bucket(bucket).blob(prefix.chunk_key(4)).delete()
    with FaultProxy(emulator.url) as proxy, store_at(proxy.url, bucket) as store:
        assert list(ended_stream(store, prefix, COUNT).chunks()) == expected(3)
        counts = reads(proxy)
    assert counts.pop(prefix.chunk_key(4)) == 2  # not read ahead, so the stream asks itself
    assert set(counts.values()) == {1}


def test_a_count_that_is_a_lie_costs_few_requests(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    """A response may claim any number."""
    prefix = stored_chunks(storage_client, bucket, 2)
    with FaultProxy(emulator.url) as proxy, store_at(proxy.url, bucket) as store:
        assert list(ended_stream(store, prefix, 10**12).chunks()) == expected(2)
        assert len(proxy.requests) <= 2 + PARALLEL_READS + 1


def test_a_stream_that_is_stopped_starts_no_further_read(
    emulator: Emulator, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_gcf_pipes._messages.chunk_stream.READ_TIMEOUT", 1.0)
    silent = Fault(READ, Stall(60), EVERY, minimum=PARALLEL_READS)
    with FaultProxy(emulator.url, [silent]) as proxy, store_at(proxy.url, bucket) as store:
        stream = ended_stream(store, SessionPrefix(bucket, "stalled"), COUNT)
        reading = in_background(lambda: list(stream.chunks()))
        proxy.plan.wait_until_triggered(30)
        stream.stop()
        assert reading.result(30) == []
        assert proxy.plan.injections(silent) == PARALLEL_READS
