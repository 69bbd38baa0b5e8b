"""The stand-in of the Cloud Functions API answers as the real one does."""

from typing import Any

import pytest
from werkzeug.test import Client

from tests.google.functions_api import TOKEN, FunctionsApi, permission_denied, unavailable

NAME = "projects/my-project/locations/europe-west1/functions/orders"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def api() -> FunctionsApi:
    api = FunctionsApi()
    api.add(NAME)
    return api


def get(api: FunctionsApi, name: str = NAME, query: str = "", **arguments: Any) -> tuple[int, Any]:
    response = Client(api.app).get(f"/v2/{name}{query}", headers=arguments.get("headers", AUTHORIZED))
    return response.status_code, response.get_json()


def test_describes_a_function(api: FunctionsApi) -> None:
    status, function = get(api)
    assert (status, function["name"], function["state"]) == (200, NAME, "ACTIVE")
    assert api.asked == [f"/v2/{NAME}"]


def test_enums_are_numbers_if_asked_for(api: FunctionsApi) -> None:
    api.add(NAME, stateMessages=[{"severity": "WARNING", "type": "Some", "message": "text"}])
    function = get(api, query="?$alt=json;enum-encoding%3Dint")[1]
    assert (function["state"], function["environment"], function["stateMessages"][0]["severity"]) == (1, 2, 2)


def test_does_not_know_another_function(api: FunctionsApi) -> None:
    status, body = get(api, NAME.replace("orders", "customers"))
    assert (status, body["error"]["status"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer another-token"}])
def test_refuses_a_request_without_a_valid_token(api: FunctionsApi, headers: dict[str, str]) -> None:
    status, body = get(api, headers=headers)
    assert (status, body["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_faults_come_one_by_one_and_pass(api: FunctionsApi) -> None:
    api.faults += [permission_denied("some.permission", NAME), unavailable()]
    assert [get(api)[0] for _ in range(3)] == [403, 503, 200]
