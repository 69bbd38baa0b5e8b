"""The reader returns the messages of the channel: equal, in order, once."""

import sys
import time
import uuid
from collections.abc import Container, Iterator, Mapping
from contextlib import closing
from itertools import count, takewhile
from threading import RLock, Timer
from typing import Any, Final

import pytest
from dagster import PipesMessageHandler
from dagster_pipes import PIPES_PROTOCOL_VERSION, Method, PipesMessage
from gcf_pipes import PipesCloudStorageMessageWriter
from gcf_pipes._shared.errors import PipesStorageError, PipesStorageForbiddenError
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dagster_gcf_pipes._messages.chunk_stream import ChunkStream, WritingEnded
from dagster_gcf_pipes._messages.session import ReaderSession
from dagster_gcf_pipes.local import EMBEDDED, run_emulator
from tests.json_strategies import json_texts, json_values

BUCKET: Final = "properties"
LARGE: Final = 5 * 1024 * 1024
POLL_INTERVAL: Final = 0.005
DEADLOCK: Final = 30.0
"""Seconds after which a fetcher counts as stuck."""


@pytest.fixture(scope="module")
def client() -> Iterator[storage.Client]:
    with run_emulator(EMBEDDED) as emulator:
        options = {"api_endpoint": emulator.url}
        credentials = AnonymousCredentials()
        client = storage.Client(project="local", credentials=credentials, client_options=options)
        with closing(client):
            client.create_bucket(BUCKET)
            yield client


class RecordingHandler(PipesMessageHandler):
    """Keeps the messages that Dagster would handle."""

    def __init__(self) -> None:
        self.messages: list[PipesMessage] = []

    def handle_message(self, message: PipesMessage) -> None:
        self.messages.append(message)


def message(method: Method, params: Mapping[str, Any] | None) -> PipesMessage:
    return {"__dagster_pipes_version": PIPES_PROTOCOL_VERSION, "method": method, "params": params}


def log(text: str) -> PipesMessage:
    return message("log", {"message": text, "level": "INFO"})


messages = st.one_of(
    json_texts.map(log),
    json_values.map(lambda value: message("report_custom_message", {"payload": value})),
    st.just(message("report_custom_message", None)),
)
writer_options = st.fixed_dictionaries(
    {
        "flush_interval": st.sampled_from([0.0, 0.001, 0.02, 0.2]),
        "max_chunk_bytes": st.sampled_from([1, 100, 1000, 1024 * 1024]),
        "max_buffer_bytes": st.sampled_from([1, 500, 8 * 1024 * 1024]),
    }
)


def sent_and_read(
    client: storage.Client, sent: list[PipesMessage], options: dict[str, Any], *, chunk_count_known: bool = True
) -> list[PipesMessage]:
    """Write these messages between `opened` and `closed`; return the messages that the reader hands on."""
    handler = RecordingHandler()
    session = ReaderSession(
        ObjectStore(BUCKET, client),
        SessionPrefix(BUCKET, uuid.uuid4().hex),
        poll_interval=POLL_INTERVAL,
        include_stdio_in_messages=False,
        log_lines_per_entry=1,
    )
    writer = PipesCloudStorageMessageWriter(client, **options)
    with session.read_messages(handler) as params:
        with writer.open(params) as channel:
            for each in [OPENED, *sent, CLOSED]:
                channel.write_message(each)
        session.drain(channel.chunk_count if chunk_count_known else None, timeout=0.01)
    if failure := session.record.failure:
        raise failure
    assert session.record.chunk_count == channel.chunk_count
    return handler.messages


OPENED: Final = message("opened", {"extras": {}})
CLOSED: Final = message("closed", {})


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sent=st.lists(messages, max_size=12), options=writer_options, chunk_count_known=st.booleans())
@example(sent=[log("")], options={}, chunk_count_known=True)
@example(sent=[log("\0"), log("\ud800"), log("\udc00"), log("a\r\nb\u2028")], options={}, chunk_count_known=False)
def test_any_messages_come_out_as_they_went_in(
    client: storage.Client, sent: list[PipesMessage], options: dict[str, Any], chunk_count_known: bool
) -> None:
    received = sent_and_read(client, sent, options, chunk_count_known=chunk_count_known)
    assert received == [OPENED, *sent, CLOSED]


@pytest.mark.parametrize("character", ["x", "é", "\0", "\ud800"], ids=["ascii", "unicode", "nul", "lone surrogate"])
def test_message_of_5_mb_comes_out_among_small_ones(client: storage.Client, character: str) -> None:
    """Escaped, some of them are 30 MB: more than the buffer may hold."""
    sent = [log("before"), log(character * LARGE), log("after")]
    assert sent_and_read(client, sent, {}) == [OPENED, *sent, CLOSED]


class ScriptedStore(ObjectStore):
    """A store whose objects appear in any order, by the count of the reads.

    It is strongly consistent, as Cloud Storage is: what a poll has seen, later ones see. It has no latency, does not
    bound what it reads, and retries nothing; an error is what is left after the real store's own retries.

    Args:
        appearances: For each chunk, the number of the read from which on it is there.
        fails_at: The numbers of the reads that fail.
        error: What they fail with.
        ends_at: The number of the read during which writing ends, if it does not end later.

    Attributes:
        chunks_read: The numbers of the chunks that were read, each as often as that.
    """

    def __init__(
        self,
        appearances: list[int],
        *,
        fails_at: Container[int] = (),
        error: type[PipesStorageError] = PipesStorageError,
        ends_at: int | None = None,
        says_count: bool = True,
    ) -> None:
        self._appearances = appearances
        self._fails_at = fails_at
        self._error = error
        self._ends_at = ends_at
        self._says_count = says_count
        self._ended = False
        self._reads = 0
        self._lock = RLock()
        self.chunks_read: list[int] = []
        self.stream = ChunkStream(self, PREFIX, poll_interval=0.0005)

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the chunks of the stream. A watchdog stops a stream that is stuck, so that chunks are missing."""
        watchdog = Timer(DEADLOCK, self.stream.stop)
        watchdog.start()
        try:
            yield from self.stream.chunks()
        finally:
            watchdog.cancel()

    def read(self, key: str, *, max_bytes: int, timeout: float) -> bytes | None:
        with self._lock:
            self._reads += 1
            if self._reads in self._fails_at:
                raise self._error("no answer")
            index = int(key.removeprefix(f"{PREFIX.path}/").removesuffix(".json"))
            there = self._is_there(index - 1)
            if self._reads == self._ends_at:  # after this read was answered: what is written now, the next one sees
                self._ended = True
                self.end_writing(len(self._appearances) if self._says_count else None)
            self.chunks_read += [index] * there
            return content(index) if there else None

    def list_keys(self, prefix: str, *, timeout: float) -> list[str]:
        indexes = range(len(self._appearances))
        return [PREFIX.chunk_key(index + 1) for index in indexes if self._is_there(index)]

    def end_writing(self, chunk_count: int | None) -> None:
        now = time.monotonic()
        self.stream.end_writing(WritingEnded(chunk_count, drain_until=now + 0.01, deadline=now + DEADLOCK))

    def _is_there(self, index: int) -> bool:
        return index < len(self._appearances) and (self._ended or self._appearances[index] <= self._reads)


PREFIX: Final = SessionPrefix(BUCKET, "scripted")


def content(index: int) -> bytes:
    return f"chunk {index}".encode()


def all_chunks(count: int) -> list[tuple[int, bytes]]:
    return [(index, content(index)) for index in range(1, count + 1)]


appearances = st.lists(st.integers(0, 20), max_size=8)


@pytest.mark.parametrize("says_count", [True, False])
def test_5000_chunks_come_in_order_once(*, says_count: bool) -> None:
    store = ScriptedStore([0] * 5000, ends_at=3, says_count=says_count)
    assert list(store.chunks()) == all_chunks(5000)
    assert sorted(store.chunks_read) == list(range(1, 5001))


@settings(max_examples=40, deadline=None)
@given(appearances=appearances, ends_at=st.integers(1, 15), says_count=st.booleans())
def test_chunks_come_in_order_once_whatever_order_they_appear_in(
    appearances: list[int], ends_at: int, says_count: bool
) -> None:
    """Writing ends during any read, and the last chunks may appear no sooner than that."""
    store = ScriptedStore(appearances + [0] * ends_at, ends_at=ends_at, says_count=says_count)
    assert list(store.chunks()) == all_chunks(len(appearances) + ends_at)
    assert sorted(store.chunks_read) == list(range(1, len(appearances) + ends_at + 1))


@settings(max_examples=40, deadline=None)
@given(appearances=appearances.filter(bool))
def test_chunks_come_while_the_function_runs(appearances: list[int]) -> None:
    store = ScriptedStore(appearances)
    chunks = store.chunks()
    assert [next(chunks) for _ in appearances] == all_chunks(len(appearances))
    store.end_writing(len(appearances))
    assert list(chunks) == []


@settings(max_examples=40, deadline=None)
@given(
    appearances=appearances, fails_at=st.sets(st.integers(1, 30)), ends_at=st.integers(1, 15), says_count=st.booleans()
)
def test_an_outage_of_the_bucket_loses_no_chunk_whenever_it_comes(
    appearances: list[int], fails_at: set[int], ends_at: int, says_count: bool
) -> None:
    store = ScriptedStore(
        appearances + [0] * ends_at, fails_at=fails_at - {ends_at}, ends_at=ends_at, says_count=says_count
    )
    assert list(store.chunks()) == all_chunks(len(appearances) + ends_at)


@settings(max_examples=40, deadline=None)
@given(appearances=appearances.filter(bool), fails_at=st.integers(1, 10), ends_at=st.none() | st.integers(1, 10))
def test_chunks_before_a_permanent_error_come_in_order_once(
    appearances: list[int], fails_at: int, ends_at: int | None
) -> None:
    forever = range(fails_at, sys.maxsize)
    store = ScriptedStore(
        appearances + [0] * fails_at, fails_at=forever, error=PipesStorageForbiddenError, ends_at=ends_at
    )
    received: list[tuple[int, bytes]] = []
    with pytest.raises(PipesStorageForbiddenError, match="no answer"):
        received.extend(store.chunks())
    in_order = takewhile(lambda index: index in store.chunks_read, count(1))
    assert received == [(index, content(index)) for index in in_order]
