"""The stand-in of the Cloud Logging API answers as the real one does, and reads its query language."""

from typing import Any

import pytest
from werkzeug.test import Client

from tests.google.functions_api import TOKEN, unavailable
from tests.google.logging_api import LoggingApi, parse_filter

ENTRY = {
    "logName": "projects/my-project/logs/run.googleapis.com%2Fvarlog%2Fsystem",
    "resource": {"type": "cloud_run_revision", "labels": {"service_name": "orders"}},
    "timestamp": "2026-03-18T16:05:55.290Z",
    "severity": "WARNING",
    "trace": "projects/my-project/traces/0af7",
    "textPayload": "text",
}
TRUE, FALSE = 'severity="WARNING"', 'severity="ERROR"'


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ('resource.type="cloud_run_revision"', True),
        ('resource.labels.service_name="customers"', False),
        ('labels.execution_id="a"', False),
        ('trace="0af7"', False),
        ('trace:"traces/0AF7"', True),
        ('log_id("run.googleapis.com/varlog/system")', True),
        ('log_id("run.googleapis.com/requests")', False),
        ("severity>=WARNING", True),
        ("severity>=ERROR", False),
        ("severity<=WARNING", True),
        ('timestamp>="2026-03-18T16:05:55.291Z"', False),
        ('timestamp<="2026-03-18T17:05:55.290+01:00"', True),
        (f"{TRUE}\n{FALSE}", False),
        (f"{TRUE} AND {TRUE}", True),
        pytest.param(f"{TRUE} OR {TRUE} AND {FALSE}", False, id="OR binds stronger: (true or true) and false"),
        pytest.param(f"{FALSE} {FALSE} OR {TRUE}", False, id="false and (false or true)"),
        pytest.param(f"{TRUE} OR ({TRUE} AND {FALSE})", True, id="but parentheses bind strongest"),
        ('severity="WARN\\u0049NG"', True),
    ],
)
def test_filter(text: str, matches: bool) -> None:
    assert parse_filter(text)(ENTRY) is matches


@pytest.mark.parametrize(
    "text", ["severity", "severity=", "(severity=ERROR", "severity=ERROR)", "severity ! 1", "x" * 20_001]
)
def test_refuses_a_filter_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"Unparseable filter|at most 20000 characters"):
        parse_filter(text)


@pytest.fixture
def api() -> LoggingApi:
    api = LoggingApi()
    api.entries["my-project"] = [{**ENTRY, "timestamp": f"2026-03-18T16:05:0{n}Z"} for n in (2, 1, 3)]
    return api


def ask(api: LoggingApi, token: str = TOKEN, **question: Any) -> tuple[int, Any]:
    question = {"resourceNames": ["projects/my-project"], **question}
    headers = {"Authorization": f"Bearer {token}"}
    response = Client(api.app).post("/v2/entries:list", json=question, headers=headers)
    return response.status_code, response.get_json()


def seconds(answer: tuple[int, Any]) -> list[str]:
    assert answer[0] == 200
    return [entry["timestamp"][-2] for entry in answer[1]["entries"]]


def test_lists_in_the_order_that_is_asked_for(api: LoggingApi) -> None:
    assert (seconds(ask(api)), seconds(ask(api, orderBy="timestamp desc"))) == (["1", "2", "3"], ["3", "2", "1"])


def test_lists_page_by_page(api: LoggingApi) -> None:
    first = ask(api, pageSize=2)
    assert seconds(first) == ["1", "2"]
    rest = ask(api, pageSize=2, pageToken=first[1]["nextPageToken"])
    assert (seconds(rest), "nextPageToken" in rest[1]) == (["3"], False)


def test_another_project_has_other_entries(api: LoggingApi) -> None:
    assert seconds(ask(api, resourceNames=["projects/other-project"])) == []


def test_entry_is_not_found_before_it_is_visible(api: LoggingApi) -> None:
    api.entries["my-project"][0]["visible_at"] = 2
    assert [seconds(ask(api)) for _ in range(2)] == [["1", "3"], ["1", "2", "3"]]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [({"token": "another-token"}, (401, "UNAUTHENTICATED")), ({"filter": "a ="}, (400, "INVALID_ARGUMENT"))],
)
def test_refuses_a_bad_request(api: LoggingApi, arguments: dict[str, str], status: tuple[int, str]) -> None:
    code, body = ask(api, **arguments)
    assert (code, body["error"]["status"]) == status


def test_faults_come_one_by_one_and_pass(api: LoggingApi) -> None:
    api.faults.append(unavailable())
    assert [ask(api)[0] for _ in range(2)] == [503, 200]
