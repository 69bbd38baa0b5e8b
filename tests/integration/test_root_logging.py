"""The usual way to send all logs to Dagster: the handler of `pipes.log` on the root logger."""

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests import sessions
from tests.conftest import FUNCTIONS
from tests.sessions import stored_sessions

TIMEOUT = 40


@pytest.fixture
def function(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "root_logging" / "main.py", emulator_url=emulator.url, threads=4) as server:
        yield server


def call(function: FunctionServer, bucket: str, prefix: str, mode: str, **event: Any) -> requests.Response:
    headers = {"Dagster-Pipes-Timeout": f"{TIMEOUT}"}
    return sessions.call(function.url, bucket, {"mode": mode, **event}, prefix=prefix, headers=headers)


def messages(storage_client: storage.Client, bucket: str, prefix: str) -> list[dict[str, Any]]:
    return stored_sessions(storage_client, bucket)[prefix]


def logged(stored: list[dict[str, Any]]) -> list[str]:
    return [message["params"]["message"] for message in stored if message["method"] == "log"]


def test_debug_lines_of_the_upload_do_not_wait_for_the_upload(
    function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    """urllib3 logs a line at each request: one that waits for the handler, or for room, would end the uploads."""
    response = call(function, bucket, "flood", "floods", count=20)
    assert response.status_code == 200, response.text
    stored = messages(storage_client, bucket, "flood")
    assert stored[-1]["method"] == "closed"
    assert "exception" not in stored[-1]["params"]
    texts = logged(stored)
    assert sorted(int(text.split()[0]) for text in texts) == sorted([*range(20)] * 2)


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_a_handler_that_is_left_behind_harms_no_later_call(
    function: FunctionServer, bucket: str, storage_client: storage.Client, level: str
) -> None:
    assert call(function, bucket, "first", "leaves_handler", level=level).status_code == 200
    second = call(function, bucket, "second", "ok")
    assert (second.status_code, second.text.strip()) == (200, '{"ok":true}')
    refused = requests.post(function.url, json={}, timeout=30)
    assert (refused.status_code, refused.headers["Dagster-Pipes-Error"]) == (400, "bad_request")
    function.child.wait_for_output("call refused: bad_request")
    assert logged(messages(storage_client, bucket, "first")) == ["a line of the first run"]
    assert logged(messages(storage_client, bucket, "second")) == []


def test_after_the_end_pipes_log_raises_and_other_loggers_do_not(function: FunctionServer, bucket: str) -> None:
    call(function, bucket, uuid.uuid4().hex, "leaves_handler", level="INFO").raise_for_status()
    answer = call(function, bucket, uuid.uuid4().hex, "logs_after_the_end")
    assert answer.json() == {"error": "Cannot send message after pipes context is closed."}


def test_the_level_is_that_of_the_record_s_number(
    function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    call(function, bucket, "colours", "colours").raise_for_status()
    levels = {
        message["params"]["message"]: message["params"]["level"]
        for message in messages(storage_client, bucket, "colours")
        if message["method"] == "log"
    }
    assert levels == {
        **{f"at {number}": logging.getLevelName(number) for number in (10, 20, 30, 40, 50)},
        "at 25": "INFO",
        "at 60": "CRITICAL",
    }
