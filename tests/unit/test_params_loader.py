"""The bootstrap params in a request's body, and the errors of a body without them."""

import base64
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PIPES_PROTOCOL_VERSION,
    PIPES_PROTOCOL_VERSION_FIELD,
    PipesParams,
    encode_param,
)
from gcf_pipes import PipesCloudFunctionParamsLoader, PipesRequestError
from gcf_pipes._shared.json_validation import get_param
from hypothesis import given
from hypothesis import strategies as st

from tests.json_strategies import json_objects, json_values

LOADS: dict[str, Callable[[PipesCloudFunctionParamsLoader], PipesParams]] = {
    DAGSTER_PIPES_CONTEXT_ENV_VAR: PipesCloudFunctionParamsLoader.load_context_params,
    DAGSTER_PIPES_MESSAGES_ENV_VAR: PipesCloudFunctionParamsLoader.load_messages_params,
}
DEEP = "[" * 100_000
NOT_DECODABLE = "JSON in UTF-8, compressed with zlib and encoded with base64"


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode("ascii")


def body(**keys: Any) -> bytes:
    return json.dumps(keys).encode()


def error_of(load: Callable[[], object]) -> str:
    with pytest.raises(PipesRequestError) as caught:
        load()
    return str(caught.value)


@given(event=json_objects, context=json_objects, messages=json_objects)
def test_loads_what_encode_param_encodes(
    event: dict[str, Any], context: dict[str, Any], messages: dict[str, Any]
) -> None:
    bootstrap = {
        DAGSTER_PIPES_CONTEXT_ENV_VAR: encode_param(context),
        DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param(messages),
    }
    loader = PipesCloudFunctionParamsLoader(body(**event, **bootstrap))
    assert loader.load_context_params() == context
    assert loader.load_messages_params() == messages


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR], True),
        ([DAGSTER_PIPES_CONTEXT_ENV_VAR], False),
        ([DAGSTER_PIPES_MESSAGES_ENV_VAR], False),
        ([], False),
    ],
)
def test_is_called_by_dagster_only_with_both_keys(keys: list[str], expected: bool) -> None:
    assert PipesCloudFunctionParamsLoader(body(**dict.fromkeys(keys, ""))).is_dagster_pipes_process() is expected


@pytest.mark.parametrize(
    ("data", "got"),
    [
        pytest.param(b"", "cannot be parsed: ", id="empty"),
        pytest.param(b"hello", "cannot be parsed: ", id="not JSON"),
        pytest.param(b'{"a": "\xff"}', "cannot be parsed: ", id="not UTF-8"),
        pytest.param('{"a": 1}'.encode("utf-16"), "cannot be parsed: 'utf-8' codec can't decode", id="UTF-16"),
        pytest.param('{"a": 1}'.encode("utf-32-le"), "cannot be parsed: ", id="UTF-32 without a mark"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', "cannot be parsed: Unexpected UTF-8 BOM", id="with a mark"),
        pytest.param(DEEP.encode(), "cannot be parsed: ", id="deeply nested"),
        pytest.param(b"[1]", "got an array", id="array"),
        pytest.param(b'"text"', "got a string", id="string"),
        pytest.param(b'""', "got an empty string", id="empty string"),
        pytest.param(b"1.5", "got a number", id="number"),
        pytest.param(b"true", "got a boolean", id="boolean"),
        pytest.param(b"null", "got null", id="null"),
    ],
)
def test_refuses_a_body_that_is_not_a_json_object(data: bytes, got: str) -> None:
    error = error_of(lambda: PipesCloudFunctionParamsLoader(data))
    assert "Expected the request body to be a JSON object" in error
    assert got in error


@pytest.mark.parametrize("key", LOADS)
class TestBadParam:
    def error(self, key: str, value: Any) -> str:
        return error_of(lambda: LOADS[key](PipesCloudFunctionParamsLoader(body(**{key: value}))))

    def test_missing_key_is_named_with_the_keys_of_the_body(self, key: str) -> None:
        error = error_of(lambda: LOADS[key](PipesCloudFunctionParamsLoader(body(table_uri="gs://lake/orders"))))
        assert f"Dagster Pipes key {key!r}" in error
        assert "['table_uri']" in error

    def test_missing_key_in_an_empty_object_says_so_and_what_to_do(self, key: str) -> None:
        error = error_of(lambda: LOADS[key](PipesCloudFunctionParamsLoader(b"{}")))
        assert "no keys" in error
        assert "PipesCloudFunctionClient.run" in error

    @pytest.mark.parametrize(
        ("value", "got"),
        [(1, "a number"), (1.5, "a number"), (True, "a boolean"), (None, "null"), ([], "an array"), ({}, "an object")],
    )
    def test_value_is_not_a_string(self, key: str, value: Any, got: str) -> None:
        assert self.error(key, value) == f"Expected {key!r} to be a string, got {got}."

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param("abc", id="not base64"),
            pytest.param("ünï", id="not ASCII"),
            pytest.param("", id="empty"),
            pytest.param(base64.b64encode(b"plain text").decode(), id="not zlib"),
            pytest.param(base64.b64encode(zlib.compress(b"{}")[:-2]).decode(), id="truncated zlib"),
        ],
    )
    def test_value_cannot_be_decoded(self, key: str, value: str) -> None:
        error = self.error(key, value)
        assert f"Expected {key!r} to be {NOT_DECODABLE}" in error
        assert "cannot be decoded: " in error

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(packed(b"plain text"), id="not JSON"),
            pytest.param(packed(b'{"a": "\xff"}'), id="not UTF-8"),
            pytest.param(packed("{}".encode("utf-16")), id="UTF-16"),
            pytest.param(packed("{}".encode("utf-32-le")), id="UTF-32"),
            pytest.param(packed(b""), id="nothing inside"),
            pytest.param(packed(DEEP[:8_000].encode()), id="deeply nested"),
        ],
    )
    def test_value_is_not_json(self, key: str, value: str) -> None:
        assert f"Expected {key!r} to be a JSON object in UTF-8, but it cannot be parsed: " in self.error(key, value)

    @pytest.mark.parametrize(
        ("content", "got"),
        [(b"[1]", "an array"), (b'"text"', "a string"), (b"1", "a number"), (b"false", "a boolean"), (b"null", "null")],
    )
    def test_value_is_not_a_json_object(self, key: str, content: bytes, got: str) -> None:
        assert self.error(key, packed(content)) == f"Expected {key!r} to be a JSON object, got {got}."


BOMB = """
import base64, json, resource, zlib
from gcf_pipes import PipesCloudFunctionParamsLoader, PipesRequestError

value = base64.b64encode(zlib.compress(b'{"a":[' + b'{"":1},' * (128 * 1024 * 1024 // 7) + b'0]}')).decode()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loader = PipesCloudFunctionParamsLoader(json.dumps({"DAGSTER_PIPES_CONTEXT": value}).encode())
try:
    loader.load_context_params()
except PipesRequestError as error:
    print(error)
print("more at the peak:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_small_body_that_is_large_when_decompressed_takes_no_memory() -> None:
    """It has 260 kB, and parsed it would take 3.8 GB; the test itself takes 128 MiB before it measures."""
    output = subprocess.run([sys.executable, "-c", BOMB], check=True, capture_output=True, text=True).stdout
    assert "'DAGSTER_PIPES_CONTEXT' to be JSON in UTF-8" in output
    assert "it is larger than 2,097,152 bytes" in output
    assert output.endswith("more at the peak: 0\n")


@pytest.mark.parametrize("key", LOADS)
@pytest.mark.parametrize(("version", "got"), [("9.9", "'9.9'"), ("9" * 1_000, repr("9" * 100)), (0.1, "a number")])
def test_params_of_another_protocol_version_are_refused(key: str, version: object, got: str) -> None:
    params = packed(json.dumps({PIPES_PROTOCOL_VERSION_FIELD: version}).encode())
    error = error_of(lambda: LOADS[key](PipesCloudFunctionParamsLoader(body(**{key: params}))))
    assert f"Expected version {PIPES_PROTOCOL_VERSION!r} of the Pipes protocol in {key!r}, got {got}.\n" in error
    assert "Fix: Install the same version of dagster-pipes" in error


@pytest.mark.parametrize("key", LOADS)
def test_params_of_this_protocol_version_are_loaded(key: str) -> None:
    params = {PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION}
    loader = PipesCloudFunctionParamsLoader(body(**{key: encode_param(params)}))
    assert LOADS[key](loader) == params


def test_text_shows_no_more_than_the_start_of_each_key_of_the_event() -> None:
    loader = PipesCloudFunctionParamsLoader(body(**{f"{number}{'x' * 10_000}": number for number in range(30)}))
    assert len(error_of(loader.load_context_params)) < 3_000


def _event(context: object, messages: object) -> bytes:
    return body(**{DAGSTER_PIPES_CONTEXT_ENV_VAR: context, DAGSTER_PIPES_MESSAGES_ENV_VAR: messages})


params_of_any_kind = json_values | st.binary().map(packed) | json_values.map(lambda value: packed(body(value=value)))


@given(st.binary() | json_values.map(json.dumps).map(str.encode) | st.builds(_event, *[params_of_any_kind] * 2))
def test_any_body_loads_or_is_refused(data: bytes) -> None:
    """No bytes cause another exception than the one that becomes a 400."""
    with suppress(PipesRequestError):
        loader = PipesCloudFunctionParamsLoader(data)
        for load in LOADS.values():
            with suppress(PipesRequestError):
                assert isinstance(load(loader), dict)


def test_get_param_returns_the_string() -> None:
    assert get_param({"bucket": "lake"}, "bucket", "messages") == "lake"


@pytest.mark.parametrize(
    ("params", "got"),
    [
        ({}, "nothing"),
        ({"bucket": None}, "null"),
        ({"bucket": ""}, "an empty string"),
        ({"bucket": 1}, "a number"),
        ({"bucket": ["lake"]}, "an array"),
        ({"bucket": {}}, "an object"),
    ],
)
def test_get_param_names_the_param_and_what_came(params: PipesParams, got: str) -> None:
    error = error_of(lambda: get_param(params, "bucket", "messages"))
    assert error == f"Expected 'bucket' in the messages params to be a string that is not empty, got {got}."
