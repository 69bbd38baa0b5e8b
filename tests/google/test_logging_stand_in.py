"""The stand-in of Cloud Logging: Cloud Run's agent, lists, their quota and pages, live tailing."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport as Transport
from google.cloud.logging_v2.types import TailLogEntriesRequest
from werkzeug.test import Client

from tests.google.functions_api import TOKEN
from tests.google.logging_agent import MAX_TEXT, Agent
from tests.google.logging_api import LoggingApi
from tests.google.logging_filter import parse_filter
from tests.google.logging_tail import MAX_STREAMS, LoggingTail
from tests.waiting import wait_until

PROJECT = "my-project"


def line(n: int, **fields: Any) -> bytes:
    return json.dumps({"message": f"line {n}", "n": n, **fields}).encode() + b"\n"


def list_entries(api: LoggingApi, **query: Any) -> tuple[int, Any]:
    query = {"resourceNames": [f"projects/{PROJECT}"], **query}
    response = Client(api.app).post("/v2/entries:list", json=query, headers={"Authorization": f"Bearer {TOKEN}"})
    return response.status_code, response.get_json()


def entries(api: LoggingApi, **query: Any) -> list[dict[str, Any]]:
    status, page = list_entries(api, **query)
    assert status == 200, page
    return list(page["entries"])


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [entry["jsonPayload"]["n"] for entry in found]


# --------------------------------------------------------------------------------------------------------- the agent


def test_special_fields_move_from_the_payload_to_the_entry() -> None:
    api = LoggingApi()
    Agent(api, PROJECT).take([line(1, severity="ERROR", **{"logging.googleapis.com/trace": "projects/p/traces/t"})])
    (entry,) = entries(api)
    assert entry["jsonPayload"] == {"message": "line 1", "n": 1}
    assert (entry["severity"], entry["trace"]) == ("ERROR", "projects/p/traces/t")
    assert entry["resource"]["type"] == "cloud_run_revision"
    assert entry["logName"] == f"projects/{PROJECT}/logs/run.googleapis.com%2Fstdout"
    assert entry["insertId"]


@pytest.mark.parametrize("text", [b"plain", b'progress 10%{"n": 1}', b"[1]", b"", b"\xff"])
def test_a_line_that_is_no_object_is_a_text(text: bytes) -> None:
    api = LoggingApi()
    Agent(api, PROJECT).take([text + b"\n"])
    (entry,) = entries(api)
    assert entry["textPayload"] == text.decode(errors="replace")


def test_a_line_that_fits_no_entry_becomes_several_texts() -> None:
    api = LoggingApi()
    Agent(api, PROJECT).take([line(1, text="x" * MAX_TEXT)])
    assert ["textPayload" in entry for entry in entries(api)] == [True, True]


def test_the_api_refuses_an_entry_that_is_too_large() -> None:
    with pytest.raises(ValueError, match=r"Log entry with size .*K exceeds maximum size of 256.0K"):
        LoggingApi().write(PROJECT, {"textPayload": "x" * 256 * 1024})


def test_entries_become_visible_later_and_not_in_order() -> None:
    api = LoggingApi()
    Agent(api, PROJECT, delay=(0.05, 0.6), seed=3).take([line(n) for n in range(10)])
    assert entries(api) == []
    wait_until(lambda: bool(entries(api)))
    first = numbers(entries(api))
    assert first != list(range(len(first)))
    wait_until(lambda: numbers(entries(api)) == list(range(10)))


def test_duplicates_with_the_same_insert_id_come_once_in_a_list() -> None:
    api = LoggingApi()
    Agent(api, PROJECT, duplicates=1.0).take([line(n) for n in range(50)])
    written = api.entries[PROJECT]
    ids = {entry["insertId"] for entry in written}
    assert len(written) == 100
    assert 50 < len(ids) < 100
    assert len(entries(api, pageSize=1000)) == len(ids)


# --------------------------------------------------------------------------------------------------------------- lists


def test_pages_follow_each_other() -> None:
    api = LoggingApi()
    Agent(api, PROJECT).take([line(n) for n in range(7)])
    found, token = [], ""
    while True:
        _, page = list_entries(api, pageSize=3, **({"pageToken": token} if token else {}))
        found += numbers(page["entries"])
        if not (token := page.get("nextPageToken", "")):
            break
    assert (found, len(api.asked)) == (list(range(7)), 3)
    assert numbers(entries(api, orderBy="timestamp desc", pageSize=2)) == [6, 5]


def test_a_page_token_belongs_to_its_query() -> None:
    api = LoggingApi()
    Agent(api, PROJECT).take([line(n) for n in range(3)])
    token = list_entries(api, pageSize=1)[1]["nextPageToken"]
    assert list_entries(api, pageSize=1, pageToken=token, filter="severity=ERROR")[0] == 400


@pytest.mark.parametrize(
    "query",
    [
        {"pageSize": 1001},
        {"pageSize": -1},
        {"orderBy": "insertId"},
        {"filter": "x" * 20_001},
        {"filter": "unknown=1"},
        {"filter": "NOT severity=ERROR"},
        {"filter": "jsonPayload.n>3"},
        {"filter": 'textPayload=~"a"'},
        {"resourceNames": ["projects/p"] * 101},
    ],
)
def test_what_the_api_does_not_accept_is_a_400(query: dict[str, Any]) -> None:
    assert list_entries(LoggingApi(), **query)[0] == 400


def test_reads_above_the_quota_are_refused_until_a_minute_has_passed() -> None:
    api = LoggingApi(reads_per_minute=2, minute=0.5)
    assert [list_entries(api)[0] for _ in range(3)] == [200, 200, 429]
    assert list_entries(api, resourceNames=["projects/another"])[0] == 200
    wait_until(lambda: list_entries(api)[0] == 200)


@pytest.mark.parametrize(
    ("filter_", "holds"),
    [
        ("jsonPayload.a.n>=10", True),
        ("jsonPayload.a.n>=9.5", True),
        ("jsonPayload.a.n>=11", False),
        ("jsonPayload.a.n=10", True),
        ('jsonPayload.a.n="10"', True),
        ("jsonPayload.missing.n>=0", False),
        ('jsonPayload.a.s="ABC"', True),
        ('jsonPayload.a.s:"B"', True),
        ('jsonPayload.a.n>=11 OR jsonPayload.a.s="abc"', True),
        ('jsonPayload.a.s="abc" AND (jsonPayload.a.n>=11 OR jsonPayload.a.n=1)', False),
        ('jsonPayload.a.s="x" AND jsonPayload.a.n=1 OR jsonPayload.a.n=10', False),  # OR binds tighter
        ('log_id("run.googleapis.com/stdout")', True),
        ('timestamp>="2026-01-01T00:00:00Z" timestamp<="2026-01-02T00:00:00Z"', True),
        ("severity>=ERROR", True),
        ("severity>=CRITICAL", False),
    ],
)
def test_filters(filter_: str, holds: bool) -> None:
    entry = {
        "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
        "timestamp": "2026-01-01T12:00:00.123456Z",
        "severity": "ERROR",
        "jsonPayload": {"a": {"n": 10, "s": "abc"}},
    }
    assert parse_filter(filter_)(entry) is holds


# -------------------------------------------------------------------------------------------------------- live tailing


@pytest.fixture
def api() -> LoggingApi:
    return LoggingApi()


@pytest.fixture
def tail(api: LoggingApi) -> LoggingTail:
    return LoggingTail(api)


@pytest.fixture
def client(tail: LoggingTail) -> Iterator[Transport]:
    with tail.serving() as address, grpc.insecure_channel(address) as channel:
        yield Transport(channel=channel)


def open_stream(client: Transport, tail: LoggingTail, filter_: str = "", window: float = 0.0) -> Any:
    request = TailLogEntriesRequest(
        resource_names=[f"projects/{PROJECT}"], filter=filter_, buffer_window={"nanos": int(window * 1e9)}
    )
    before = tail.opened
    tail_log_entries: Any = client.tail_log_entries  # its type is that of a method with one request
    stream = tail_log_entries(iter([request]), timeout=30)
    wait_until(lambda: tail.opened > before)
    return stream


def test_a_stream_has_the_entries_that_come_after_its_beginning(
    api: LoggingApi, tail: LoggingTail, client: Transport
) -> None:
    agent = Agent(api, PROJECT)
    agent.take([line(1)])
    stream = open_stream(client, tail, "jsonPayload.n>=1")
    agent.take([line(0), line(2, severity="ERROR")])
    (entry,) = next(stream).entries
    assert (dict(entry.json_payload), entry.severity) == ({"message": "line 2", "n": 2.0}, 500)
    stream.cancel()


def test_a_window_brings_entries_in_order(api: LoggingApi, tail: LoggingTail, client: Transport) -> None:
    stream = open_stream(client, tail, window=0.9)
    Agent(api, PROJECT, delay=(0.1, 0.5), seed=1).take([line(n) for n in range(5)])
    found: list[float] = []
    while len(found) < 5:
        found += [entry.json_payload["n"] for entry in next(stream).entries]
    assert len(found) == 5
    stream.cancel()


def test_a_stream_says_what_it_lacks(api: LoggingApi, tail: LoggingTail, client: Transport) -> None:
    tail.suppressed = lambda _: True
    stream = open_stream(client, tail)
    Agent(api, PROJECT).take([line(1), line(2)])
    (info,) = next(stream).suppression_info
    assert (info.reason, info.suppressed_count >= 1) == (2, True)
    stream.cancel()


def test_a_project_has_ten_streams(tail: LoggingTail, client: Transport) -> None:
    streams = [open_stream(client, tail) for _ in range(MAX_STREAMS)]
    with pytest.raises(grpc.RpcError, match="Too many open live-tailing sessions"):
        next(open_stream(client, tail))
    for stream in streams:
        stream.cancel()
    wait_until(lambda: tail.streams == 0)


def test_a_stream_ends_or_is_refused(tail: LoggingTail, client: Transport) -> None:
    tail.refusal = grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError, match="The stand-in refuses it"):
        next(open_stream(client, tail))
    tail.refusal, tail.ends_after = None, 0
    with pytest.raises(grpc.RpcError, match="The stand-in ends it"):
        next(open_stream(client, tail))
