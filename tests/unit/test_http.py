"""The body of the call: the user's event with the two keys of Pipes."""

import io
import json
import logging
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import MappingProxyType
from typing import Any

import pytest
import requests
from gcf_pipes._shared.protocol import BOOTSTRAP_KEYS, MAX_REQUEST_BYTES
from google.auth.credentials import AnonymousCredentials
from hypothesis import given

from dagster_gcf_pipes import PipesCloudFunctionRequestError
from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._credentials import Identity
from dagster_gcf_pipes._http import MAX_ERROR_BODY, AnsweredBy, Attempt, create_http_session, record_of
from dagster_gcf_pipes._request_body import encode_body
from tests.json_strategies import json_objects
from tests.quotes import Quote
from tests.waiting import in_background

BOOTSTRAP = dict.fromkeys(BOOTSTRAP_KEYS, "encoded")


def error_of(event: Any) -> PipesCloudFunctionRequestError:
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        encode_body(event, BOOTSTRAP)
    return caught.value


@given(json_objects)
def test_body_is_the_event_with_the_bootstrap_payload(event: dict[str, Any]) -> None:
    assert json.loads(encode_body(event, BOOTSTRAP)) == {**event, **BOOTSTRAP}


def test_event_may_be_any_mapping_and_is_not_changed() -> None:
    event = {"a": 1}
    assert json.loads(encode_body(MappingProxyType(event), BOOTSTRAP)) == {**event, **BOOTSTRAP}
    assert event == {"a": 1}


@pytest.mark.parametrize("event", [None, [1], "text", 1, {"a"}])
def test_refuses_an_event_that_is_no_mapping(event: object) -> None:
    assert f"Expected `event` to be a mapping that can become a JSON object, got {type(event).__name__}." == str(
        error_of(event).description
    )


@pytest.mark.parametrize("keys", [*([key] for key in BOOTSTRAP_KEYS), list(BOOTSTRAP_KEYS)])
def test_refuses_an_event_with_keys_of_pipes(keys: list[str]) -> None:
    assert f"has the keys {keys}" in str(error_of(dict.fromkeys(keys, "x")).description)


def _circular() -> dict[str, Any]:
    event: dict[str, Any] = {}
    event["self"] = event
    return event


def _deep() -> dict[str, Any]:
    event: dict[str, Any] = {}
    for _ in range(100_000):
        event = {"a": event}
    return event


@pytest.mark.parametrize(
    ("event", "text"),
    [
        pytest.param({"a": [0, float("nan")]}, "Expected `event['a'][1]` to be JSON, got nan.", id="NaN"),
        pytest.param({"a": float("-inf")}, "Expected `event['a']` to be JSON, got -inf.", id="infinity"),
        pytest.param({"a": {"b": {1}}}, "Expected `event['a']['b']` to be JSON, got set.", id="set"),
        pytest.param({"a": (b"bytes",)}, "Expected `event['a'][0]` to be JSON, got bytes.", id="bytes"),
        pytest.param({"a": datetime(2024, 1, 1)}, "got datetime.\nFix: Pass strings", id="datetime"),
        pytest.param({"a": {1: "b"}}, "Expected the keys of `event['a']` to be strings, got 1.", id="key"),
        pytest.param(_circular(), "at most 100 levels, got more at `event['self']['self']['self']`.", id="circular"),
        pytest.param(_deep(), "at most 100 levels, got more at `event['a']['a']['a']`.", id="deeply nested"),
    ],
)
def test_says_where_an_event_holds_what_json_does_not_have(event: dict[Any, Any], text: str) -> None:
    assert text in str(error_of(event).description)


def test_refuses_a_key_that_is_no_string() -> None:
    """{1: "a", "1": "b"} becomes an object that has one key twice, and the function sees one of them."""
    error_of({1: "a", "1": "b"})


def _event_for_body_of(size: int) -> dict[str, str]:
    return {"a": "x" * (size - len(encode_body({"a": ""}, BOOTSTRAP)))}


def test_accepts_the_largest_body_that_the_platform_accepts() -> None:
    assert len(encode_body(_event_for_body_of(MAX_REQUEST_BYTES), BOOTSTRAP)) == MAX_REQUEST_BYTES


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("event_not_a_mapping", [1]),
        ("event_with_keys_of_pipes", {"DAGSTER_PIPES_CONTEXT": "x"}),
        ("event_not_json", {"since": datetime(2026, 1, 1)}),
        ("event_with_a_key_that_is_no_string", {"rows": {1: "a"}}),
        ("event_nested_too_deep", _circular()),
        ("event_too_large", {"rows": "x" * MAX_REQUEST_BYTES}),
        ("event_with_too_much_structure", {"rows": [[]] * 600_000}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_error_of_a_wrong_event_is_quoted(name: str, event: Any, quote: Quote) -> None:
    quote(name, str(error_of(event).description))


@pytest.mark.parametrize("event", [None, BOOTSTRAP, {"a": b"bytes"}, {"a": "x" * MAX_REQUEST_BYTES}])
def test_refusal_is_final(event: Any) -> None:
    assert error_of(event).allow_retries is False


def response_of(body: bytes, headers: dict[str, str], *, status: int = 500) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.raw = io.BytesIO(body)
    response.headers.update(headers)
    return response


def record(response: requests.Response) -> Attempt:
    nobody = Identity(AnonymousCredentials)
    return record_of(response, FunctionAuth(nobody, audience=None, log=logging.getLogger("test")))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b'{"error": {"message": "no such bucket"}}', "no such bucket", id="of the runtime"),
        pytest.param(b"Internal Server Error", "Internal Server Error", id="plain text"),
        pytest.param(b'{"error": "no object"}', '{"error": "no object"}', id="other JSON"),
        pytest.param(b"[" * 100_000, "[" * MAX_ERROR_BODY, id="deeply nested JSON"),
        pytest.param(b"\xff", "\ufffd", id="no UTF-8"),
    ],
)
def test_text_of_an_error_response(body: bytes, text: str) -> None:
    assert record(response_of(body, {})).body == text


@pytest.mark.parametrize(
    ("header", "count"), [("3", 3), ("", None), ("-1", None), ("many", None), ("9" * 5000, None), ("\u0663", None)]
)
def test_chunk_count_of_a_response(header: str, count: int | None) -> None:
    assert record(response_of(b"", {"Dagster-Pipes-Chunk-Count": header})).chunk_count == count


COUNT = {"Dagster-Pipes-Chunk-Count": "2"}


@pytest.mark.parametrize(
    ("headers", "answered_by"),
    [
        ({}, AnsweredBy.PLATFORM),
        (COUNT, AnsweredBy.FUNCTION),
        ({"Dagster-Pipes-Error": "duplicate_call"}, AnsweredBy.DUPLICATE),
        ({"Dagster-Pipes-Error": "storage_unavailable", "Dagster-Pipes-Chunk-Count": "0"}, AnsweredBy.REFUSAL),
    ],
)
@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 409, 429, 500, 502, 503, 504])
def test_the_headers_say_who_answered_whatever_the_status(
    headers: dict[str, str], answered_by: AnsweredBy, status: int
) -> None:
    assert record(response_of(b"", headers, status=status)).answered_by is answered_by


def test_a_redirect_is_shown_without_what_may_be_secret_in_it() -> None:
    moved = response_of(b"", {"Location": "https://user:password@elsewhere.example/login?token=secret"}, status=302)
    assert record(moved).redirect_to == "https://elsewhere.example/login"


def test_a_session_keeps_no_cookies() -> None:
    """Many calls share it: none may get what another one was given."""

    class SetsCookie(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Set-Cookie", "session=of-one-call; Path=/")
            self.end_headers()
            self.wfile.write(str(self.headers.get("Cookie")).encode())

    with HTTPServer(("127.0.0.1", 0), SetsCookie) as server, create_http_session() as http:
        in_background(server.serve_forever)
        url = f"http://127.0.0.1:{server.server_port}"
        assert [http.get(url, timeout=10).text for _ in range(2)] == ["None", "None"]
        server.shutdown()
