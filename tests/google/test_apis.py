"""The stand-ins of the Cloud Functions and Cloud Logging APIs answer as the real ones do."""

from typing import Any

import pytest
from werkzeug.test import Client

from tests.google.functions_api import TOKEN, FunctionsApi, permission_denied, unavailable
from tests.google.logging_api import LoggingApi

NAME = "projects/my-project/locations/europe-west1/functions/orders"


@pytest.fixture
def functions() -> FunctionsApi:
    api = FunctionsApi()
    api.add(NAME, stateMessages=[{"severity": "WARNING", "type": "Some", "message": "text"}])
    return api


@pytest.fixture
def logs() -> LoggingApi:
    api = LoggingApi()
    api.entries["my-project"] = [{"timestamp": f"2026-03-18T16:05:0{n}Z"} for n in (2, 1, 3)]
    return api


def get(api: FunctionsApi, name: str = NAME, *, query: str = "", token: str = TOKEN) -> tuple[int, Any]:
    response = Client(api.app).get(f"/v2/{name}{query}", headers={"Authorization": f"Bearer {token}"})
    return response.status_code, response.get_json()


def list_entries(api: LoggingApi, *, token: str = TOKEN, **query: Any) -> tuple[int, Any]:
    query = {"resourceNames": ["projects/my-project"], **query}
    headers = {"Authorization": f"Bearer {token}"}
    response = Client(api.app).post("/v2/entries:list", json=query, headers=headers)
    return response.status_code, response.get_json()


def seconds(response: tuple[int, Any]) -> list[str]:
    assert response[0] == 200
    return [entry["timestamp"][-2] for entry in response[1]["entries"]]


def test_functions_have_enums_as_numbers_if_the_client_wants_them(functions: FunctionsApi) -> None:
    assert get(functions)[1]["state"] == "ACTIVE"
    function = get(functions, query="?$alt=json;enum-encoding%3Dint")[1]
    assert (function["state"], function["environment"], function["stateMessages"][0]["severity"]) == (1, 2, 2)


def test_functions_errors(functions: FunctionsApi) -> None:
    status, body = get(functions, NAME.replace("orders", "customers"))
    assert (status, body["error"]["status"]) == (404, "NOT_FOUND")
    status, body = get(functions, token="another-token")
    assert (status, body["error"]["status"]) == (401, "UNAUTHENTICATED")
    functions.faults += [permission_denied("some.permission", NAME), unavailable()]
    assert [get(functions)[0] for _ in range(3)] == [403, 503, 200]


def test_entries_come_in_order_and_page_by_page(logs: LoggingApi) -> None:
    assert seconds(list_entries(logs)) == ["1", "2", "3"]
    first = list_entries(logs, orderBy="timestamp desc", pageSize=2)
    assert (seconds(first), "nextPageToken" in first[1]) == (["3", "2"], True)
    assert seconds(list_entries(logs, resourceNames=["projects/other-project"])) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"token": "another-token"}, (401, "UNAUTHENTICATED")),
        *(({"filter": text}, (400, "INVALID_ARGUMENT")) for text in ("a =", "(severity=ERROR", "severity=ERROR)")),
    ],
)
def test_entries_errors(logs: LoggingApi, arguments: dict[str, Any], error: tuple[int, str]) -> None:
    status, body = list_entries(logs, **arguments)
    assert (status, body["error"]["status"]) == error
