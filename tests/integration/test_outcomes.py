"""How a session ends: `closed` always comes last, and has the outcome of the function's code."""

import sys
import time
import uuid
from typing import Any

import pytest
import requests
from gcf_pipes._shared.protocol import MAX_CHUNK_BYTES, MAX_EXCEPTION_CHAIN, MAX_EXCEPTION_CHARACTERS, MAX_JSON_DEPTH
from google.cloud import storage

from dagster_gcf_pipes.local import FunctionServer
from tests.sessions import call, stored_sessions, summarize
from tests.waiting import in_background, wait_until

COUNT = "Dagster-Pipes-Chunk-Count"


class Caller:
    """Calls the function as Dagster does, and reads what it stored."""

    def __init__(self, url: str, bucket: str, storage_client: storage.Client) -> None:
        self._url = url
        self._bucket = bucket
        self._storage_client = storage_client

    def call(self, mode: str, *, include_stdio: bool = False, **event: Any) -> requests.Response:
        self.prefix = uuid.uuid4().hex
        return call(self._url, self._bucket, {"mode": mode, **event}, prefix=self.prefix, include_stdio=include_stdio)

    def messages(self, prefix: str | None = None) -> list[dict[str, Any]]:
        return stored_sessions(self._storage_client, self._bucket)[prefix or self.prefix]

    def exception(self) -> Any:
        """Return the exception of `closed`, which is the last message."""
        *others, last = self.messages()
        assert last["method"] == "closed"
        assert not [message for message in others if message["method"] == "closed"]
        return last["params"].get("exception")

    def chunks(self) -> dict[int, bytes]:
        blobs = self._storage_client.list_blobs(self._bucket, prefix=f"{self.prefix}/")
        return {int(blob.name.split("/")[-1].removesuffix(".json")): blob.download_as_bytes() for blob in blobs}


@pytest.fixture
def caller(endings: FunctionServer, bucket: str, storage_client: storage.Client) -> Caller:
    return Caller(endings.url, bucket, storage_client)


# -------------------------------------------------------------------------------------------------------------- status


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 502, 503, 504])
def test_a_status_that_is_not_2xx_is_an_exception_in_closed(
    caller: Caller, endings: FunctionServer, status: int
) -> None:
    response = caller.call("answers", status=status, body="no rows today", include_stdio=True)
    assert (response.status_code, response.text, response.headers[COUNT]) == (status, "no rows today", "2")
    expected = f"PipesResponseStatusError: The function returned HTTP {status}, expected 2xx. Its body: no rows today\n"
    name = "PipesResponseStatusError"
    assert caller.exception() == {"message": expected, "name": name, "stack": [], "cause": None, "context": None}
    assert summarize(caller.messages()) == ["opened", f"closed with {name}"]
    assert name not in endings.child.output


def test_a_refusal_header_of_the_users_code_is_removed(caller: Caller) -> None:
    """Dagster would otherwise retry a call whose code has run."""
    response = caller.call("answers", status=503, body="", headers={"Dagster-Pipes-Error": "storage_unavailable"})
    assert (response.status_code, response.headers[COUNT]) == (503, "2")
    assert "Dagster-Pipes-Error" not in response.headers


def test_closed_has_the_start_of_a_large_body(caller: Caller) -> None:
    caller.call("answers", status=503, body=f"{'ü' * 1000}rest")
    assert caller.exception()["message"].endswith(f"Its body: {'ü' * 1000}\n")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_is_a_success(caller: Caller, status: int) -> None:
    assert caller.call("answers", status=status, body="").status_code == status
    assert caller.exception() is None


def test_a_context_closed_by_the_users_code_reports_the_outcome(caller: Caller) -> None:
    assert caller.call("closes_then_raises").status_code == 500
    assert caller.exception()["name"] == "ValueError"
    assert caller.call("closes_then_answers", status=503, body="").status_code == 503
    assert caller.exception()["message"].endswith("returned HTTP 503, expected 2xx. Its body is empty.\n")
    assert caller.call("closes_then_answers", status=200, body="").status_code == 200
    assert caller.exception() is None
    assert caller.call("closes_with_an_exception").json() == {"handled": True}
    assert "the key inside of with" in caller.exception()["message"]
    assert caller.call("closes_with_a_description", exception={"message": "by hand"}).status_code == 200
    assert caller.exception() == {"message": "by hand", "stack": [], "name": None, "cause": None, "context": None}


@pytest.mark.parametrize(
    ("what", "message", "name"),
    [
        ("an exception", "ValueError: by hand\n", "ValueError"),
        ("a text", "by hand", None),
        ("a broken exception", "BrokenCauseError, which Python cannot describe", "BrokenCauseError"),
        ("a class", "<class 'ValueError'>", None),
        ("wrong fields", "1", "3"),
        ("values that are not JSON", "by hand", "{<object object at"),
    ],
)
def test_a_malformed_description_closes_the_session_too(caller: Caller, what: str, message: str, name: str) -> None:
    assert caller.call("closes_with", what=what).status_code == 200
    exception = caller.exception()
    assert exception["message"].startswith(message)
    assert name is None or exception["name"].startswith(name)


@pytest.mark.parametrize(("mode", "name"), [("raises_broken", "BrokenCauseError"), ("has_no_text", "UnprintableError")])
def test_an_exception_that_cannot_be_described_is_reported(caller: Caller, mode: str, name: str) -> None:
    assert caller.call(mode).status_code == 500
    assert caller.exception()["name"] == name


# ---------------------------------------------------------------------------------------------------------- exceptions


def test_a_base_exception_is_reported_and_harms_no_other_request(
    caller: Caller, endings: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    other = Caller(endings.url, bucket, storage_client)
    waiting = in_background(lambda: other.call("waits", seconds=3))
    wait_until(lambda: len(stored_sessions(storage_client, bucket)) == 1)
    for name in ("CancelledError", "KeyboardInterrupt", "GeneratorExit", "SystemExit", "BaseException"):
        response = caller.call("raises_base", name=name)
        assert (response.status_code, response.headers[COUNT]) == (500, "2")
        assert caller.exception()["name"] == name
    assert waiting.result(60).json() == {"waited": True}
    assert other.exception() is None
    assert "Worker exiting" not in endings.child.output


@pytest.mark.parametrize("count", [1, 20, 21, 150, 1200])
def test_the_last_of_chained_exceptions_are_reported(caller: Caller, count: int) -> None:
    assert caller.call("chains", count=count).status_code == 500
    exception, texts = caller.exception(), []
    while exception:
        texts.append(exception["message"])
        exception = exception["cause"] or exception["context"]
    kept = min(count, MAX_EXCEPTION_CHAIN)
    expected = [f"ValueError: number {number}\n" for number in range(count - 1, count - 1 - kept, -1)]
    if count > kept:
        exceptions = "exception" if count == kept + 1 else "exceptions"
        expected[-1] += f"{count - kept:,} earlier {exceptions} left out. See the function's log.\n"
    assert texts == expected


def test_a_long_text_is_reported_by_its_start_and_end(caller: Caller) -> None:
    assert caller.call("has_much_text").status_code == 500
    text = caller.exception()["message"]
    assert text.startswith("ValueError: the start")
    assert text.endswith("the end\n")
    assert len(text) <= MAX_EXCEPTION_CHARACTERS


def test_a_large_stack_is_shortened(caller: Caller) -> None:
    assert caller.call("recurses").status_code == 500
    exception = caller.exception()
    assert exception["name"] == "RecursionError"
    stack = "".join(exception["stack"])
    assert "in main" in stack
    assert "in even" in stack
    assert len(stack) <= MAX_EXCEPTION_CHARACTERS


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no exception groups")
@pytest.mark.parametrize("levels", [1, 3, 2000])
def test_an_exception_group_is_reported(caller: Caller, levels: int) -> None:
    assert caller.call("raises_group", levels=levels).status_code == 500
    exception = caller.exception()
    assert exception["name"] == "ExceptionGroup"
    assert "  ValueError: the leaf\n" in exception["message"] or levels == 2000


# ------------------------------------------------------------------------------------------------------------- sealing


@pytest.mark.parametrize("pause", [0, 0.001, 0.05])
def test_a_thread_that_still_writes_does_not_delay_the_end(caller: Caller, pause: float) -> None:
    key = uuid.uuid4().hex
    started = time.monotonic()
    response = caller.call("leaves_a_thread", key=key, pause=pause, include_stdio=True)
    assert response.json() == {"returned": True}
    assert time.monotonic() - started < 30
    prefix = caller.prefix
    wait_until(lambda: caller.call("asked", key=key).json()["noted"] is not None)
    assert "Cannot send message after pipes context is closed." in caller.call("asked", key=key).text
    messages = caller.messages(prefix)
    assert [number for number, m in enumerate(messages) if m["method"] == "closed"] == [len(messages) - 1]
    assert "exception" not in messages[-1]["params"]


# -------------------------------------------------------------------------------------------------------------- limits


def test_a_message_that_is_nested_too_deep_is_refused(caller: Caller) -> None:
    for depth in (MAX_JSON_DEPTH - 1, 900, 100_000):
        refused = caller.call("reports", depth=depth).json()["refused"]
        assert f"`report_custom_message` to be nested at most {MAX_JSON_DEPTH} levels deep" in refused
        assert caller.exception() is None
    assert caller.call("reports", depth=MAX_JSON_DEPTH - 2).json() == {"refused": None}


def test_a_message_that_is_too_large_is_refused(caller: Caller) -> None:
    refused = caller.call("reports", size=MAX_CHUNK_BYTES).json()["refused"]
    assert "Pipes message `report_custom_message` to have at most 67,108,864 bytes, got 67,1" in refused
    assert caller.exception() is None


def test_a_level_that_is_not_a_standard_one_is_sent_as_the_one_below(caller: Caller) -> None:
    assert caller.call("levels").status_code == 200
    logged = {m["params"]["message"]: m["params"]["level"] for m in caller.messages() if m["method"] == "log"}
    assert logged == {
        "at 5": "DEBUG",
        "at 10": "DEBUG",
        "at 19": "DEBUG",
        "at 20": "INFO",
        "at 25": "INFO",
        "at 30": "WARNING",
        "at 45": "ERROR",
        "at 60": "CRITICAL",
    }


# ---------------------------------------------------------------------------------------------------------- heartbeats


def test_a_silent_function_writes_heartbeats_that_the_count_includes(caller: Caller) -> None:
    response = caller.call("waits", seconds=1.8)
    chunks = caller.chunks()
    beats = [number for number, content in chunks.items() if content == b"\n"]
    assert beats  # each half a second; fewer while an upload is slow
    assert response.headers[COUNT] == str(len(chunks)) == str(2 + len(beats))
    assert sorted(chunks) == list(range(1, len(chunks) + 1))
    opened, closed = caller.messages()
    assert opened["params"]["extras"]["heartbeat_interval"] == 0.5
    assert closed["method"] == "closed"
    time.sleep(0.7)  # longer than the interval: there would be another one
    assert caller.chunks() == chunks


def test_a_short_function_writes_two_chunks(caller: Caller) -> None:
    assert caller.call("ok").headers[COUNT] == "2"
    assert sorted(caller.chunks()) == [1, 2]
