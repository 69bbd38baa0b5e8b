"""The reader of one session, with a store and a handler that misbehave."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.protocol import SessionPrefix

from dagster_gcf_pipes._messages.backlog import BEHIND_AFTER
from dagster_gcf_pipes._messages.log_entries import MessageHandlingError
from dagster_gcf_pipes._messages.parser import ChunkFormatError
from dagster_gcf_pipes._messages.session import ReaderSession

if TYPE_CHECKING:
    from dagster import PipesMessageHandler
    from gcf_pipes._shared.storage import ObjectStore


def chunk(*methods: str) -> bytes:
    fields = {PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION, "params": {"message": "", "level": "INFO"}}
    return b"".join(json.dumps({**fields, "method": method}).encode() + b"\n" for method in methods)


class Chunks:
    """A store with these chunks. It is unavailable until some time has passed since the first read of a chunk."""

    def __init__(self, *chunks: bytes, unavailable: dict[int, float] | None = None) -> None:
        self._chunks = chunks
        self._unavailable = unavailable or {}
        self._first_reads: dict[int, float] = {}

    def read(self, key: str, *, max_bytes: int, timeout: float) -> bytes | None:
        number = int(key.removeprefix("session/").removesuffix(".json"))
        since = self._first_reads.setdefault(number, time.monotonic())
        if time.monotonic() < since + self._unavailable.get(number, 0.0):
            raise PipesStorageError("503")
        return self._chunks[number - 1] if number <= len(self._chunks) else None

    def list_keys(self, prefix: str, *, timeout: float) -> list[str]:
        return [f"session/{number + 1}.json" for number in range(len(self._chunks))]


class Handler:
    """Records messages, and does something with each."""

    def __init__(self, action: Callable[[str], Any]) -> None:
        self.methods: list[str] = []
        self.texts: list[str | None] = []
        self._action = action

    def handle_message(self, message: dict[str, Any]) -> None:
        self.methods.append(message["method"])
        self.texts.append(message["params"].get("message"))
        self._action(message["method"])


def reader_of(store: Chunks) -> ReaderSession:
    prefix = SessionPrefix("bucket", "session")
    return ReaderSession(cast("ObjectStore", store), prefix, poll_interval=0.01, include_stdio_in_messages=False)


def read(session: ReaderSession, handler: Handler, chunk_count: int) -> None:
    with session.read_messages(cast("PipesMessageHandler", handler)):
        session.drain(chunk_count, timeout=0)


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_gcf_pipes._messages.chunk_stream.MIN_DRAIN_DEADLINE", 0.5)


def test_time_in_which_a_chunk_is_handled_leaves_time_for_an_outage(short_deadline: None) -> None:
    session = reader_of(Chunks(chunk("opened"), chunk("closed"), unavailable={2: 0.3}))
    read(session, Handler(lambda method: time.sleep(1.0) if method == "opened" else None), 2)
    assert (session.record.failure, session.record.closed) == (None, True)


def test_an_outage_longer_than_the_deadline_fails_the_reading(short_deadline: None) -> None:
    session = reader_of(Chunks(chunk("opened"), chunk("closed"), unavailable={2: 60.0}))
    read(session, Handler(lambda _: None), 2)
    assert isinstance(session.record.failure, PipesStorageError)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_a_handler_raises_fails_the_reading(error: type[BaseException]) -> None:
    def fail(_: str) -> None:
        raise error

    session = reader_of(Chunks(chunk("opened"), chunk("closed")))
    read(session, Handler(fail), 2)
    assert isinstance(session.record.failure, MessageHandlingError)


def test_lines_before_a_bad_one_are_handed_on_although_more_seemed_to_wait() -> None:
    session = reader_of(Chunks(chunk("opened"), chunk("log", "log", "log") + b"{}"))
    handler = Handler(lambda method: time.sleep(BEHIND_AFTER) if method == "opened" else None)
    read(session, handler, 2)
    assert handler.methods == ["opened", "log"]
    assert handler.texts[-1] == "\n\n"
    assert isinstance(session.record.failure, ChunkFormatError)


def test_the_error_names_all_lines_of_an_entry() -> None:
    def fail(method: str) -> None:
        time.sleep(BEHIND_AFTER)
        if method == "log":
            raise OSError("disk full")

    session = reader_of(Chunks(chunk("opened"), chunk("log", "log", "closed")))
    read(session, Handler(fail), 2)
    assert str(session.record.failure) == (
        "Dagster cannot handle the `log` in line 1 of gs://bucket/session/2.json to line 2 of "
        "gs://bucket/session/2.json: disk full"
    )
    assert not session.record.closed


def test_the_session_is_closed_only_after_dagster_has_all_lines() -> None:
    session = reader_of(Chunks(chunk("opened"), chunk("log", "log", "closed")))
    seen: list[bool] = []

    def note(method: str) -> None:
        time.sleep(BEHIND_AFTER)
        seen.append(session.record.closed)

    read(session, Handler(note), 2)
    assert seen == [False, False, True]  # `opened`, both lines in one entry, `closed`
    assert session.record.closed
    assert session.record.message_count == 4


def test_a_reader_that_is_stopped_hands_on_no_further_message() -> None:
    session = reader_of(Chunks(chunk("opened", *["log"] * 200, "closed")))
    handler = Handler(lambda _: time.sleep(0.02))
    with session.read_messages(cast("PipesMessageHandler", handler)):
        session.wait_until(lambda: session.record.message_count > 1)
    assert len(handler.methods) < 200
