"""The reader parses what the writer encodes, and names a line that is not a message."""

import json
from contextlib import suppress
from typing import Any, cast

import pytest
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesMessage
from gcf_pipes._encoding import encode_message as _encode
from gcf_pipes._shared.protocol import HEARTBEAT, MAX_EXCEPTION_CHAIN, MAX_EXCEPTION_CHARACTERS, MAX_JSON_DEPTH
from hypothesis import example, given
from hypothesis import strategies as st

from dagster_gcf_pipes._messages.parser import ChunkFormatError, parse_chunk
from tests.fuzz.chunks import METHODS, chain, exception, line
from tests.json_strategies import json_objects

URI = "gs://lake/session/3.json"


def message(params: Any) -> PipesMessage:
    # PipesMessage is a TypedDict whose first key is not an identifier, so that it cannot be written as a call
    return cast(
        "PipesMessage", {PIPES_PROTOCOL_VERSION_FIELD: "0.1", "method": "report_custom_message", "params": params}
    )


params_of_messages = st.none() | json_objects


@given(st.lists(params_of_messages, max_size=6))
@example([])
@example([None, {}, {"infinite": float("inf")}])
@example([{"message": "a\nb\r\nc\u2028d\u0085e\x1cf"}])
@example([{"message": "\0"}, {"\0": ""}])
@example([{"message": "\ud800"}, {"\udfff": "lone surrogates"}])
@example([{"message": "x" * 2_000_000}])
def test_what_the_writer_encodes_is_what_the_reader_parses(all_params: list[Any]) -> None:
    messages = [message(params) for params in all_params]
    assert list(parse_chunk(b"".join(map(_encode, messages)), URI)) == messages


@given(params_of_messages)
def test_message_is_one_line_of_ascii(params: Any) -> None:
    line = _encode(message(params))
    assert line.isascii()
    assert line.splitlines(keepends=True) == [line]
    assert line.endswith(b"\n")


def test_last_line_needs_no_newline() -> None:
    """The stock writer joins the messages with newlines."""
    messages = [message({"number": number}) for number in range(3)]
    assert list(parse_chunk("\n".join(map(json.dumps, messages)).encode(), URI)) == messages


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"hello", id="not JSON"),
        pytest.param(b"", id="blank"),
        pytest.param(b'{"__dagster_pipes_version": "0.1", "meth', id="truncated"),
        pytest.param(b'{"__dagster_pipes_version": "\xff"}', id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="deeply nested"),
        pytest.param(b'["__dagster_pipes_version"]', id="array"),
        pytest.param(b'"__dagster_pipes_version"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"method": "log", "params": null}', id="no version"),
        pytest.param(b'{"__dagster_pipes_version": "0.1", "method": "delete", "params": null}', id="unknown method"),
        pytest.param(b'{"__dagster_pipes_version": "0.1", "method": ["log"], "params": null}', id="no text as method"),
        pytest.param(b'{"__dagster_pipes_version": "9.9", "method": "log", "params": null}', id="other version"),
        pytest.param(b'{"__dagster_pipes_version": "0.1", "params": null}', id="no method"),
    ],
)
def test_bad_line_is_named_after_the_messages_before_it(line: bytes) -> None:
    before = [message({"number": number}) for number in range(2)]
    messages = parse_chunk(b"".join([*map(_encode, before), line, b"\n", _encode(message(None))]), URI)
    assert [next(messages), next(messages)] == before
    with pytest.raises(ChunkFormatError, match=f"line 3 of {URI}"):
        next(messages)


def test_error_of_a_missing_version_names_the_key_and_the_line() -> None:
    with pytest.raises(ChunkFormatError) as caught:
        list(parse_chunk(b'{"hello": 1}', URI))
    assert "'__dagster_pipes_version'" in str(caught.value)
    assert '{"hello": 1}' in str(caught.value)


def test_text_of_a_long_bad_line_has_only_its_start() -> None:
    with pytest.raises(ChunkFormatError) as caught:
        list(parse_chunk(json.dumps({"hello": "x" * 1_000_000}).encode(), URI))
    assert '{"hello": "xxx' in str(caught.value)
    assert len(str(caught.value)) < 1000


def closed(error: Any) -> bytes:
    return json.dumps(
        {PIPES_PROTOCOL_VERSION_FIELD: "0.1", "method": "closed", "params": {"exception": error}}
    ).encode()


def error_of(content: bytes) -> str:
    with pytest.raises(ChunkFormatError) as caught:
        list(parse_chunk(content, URI))
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "'exception' in the params of `closed` in line 1 of {} to be an object, got null."),
        ("boom", "'exception' in the params of `closed` in line 1 of {} to be an object, got a string."),
        (
            exception(message=1),
            "'exception.message' in the params of `closed` in line 1 of {} to be a string, got a number.",
        ),
        (
            exception(stack="x"),
            "'exception.stack' in the params of `closed` in line 1 of {} to be an array, got a string.",
        ),
        (
            exception(stack=[1]),
            "'exception.stack[0]' in the params of `closed` in line 1 of {} to be a string, got a number.",
        ),
        (
            exception(context=exception(name=[])),
            "'exception.context.name' in the params of `closed` in line 1 of {} to be a string or null, got an array.",
        ),
        (
            {"message": "boom"},
            "'exception.stack' in the params of `closed` in line 1 of {} to be an array, got nothing.",
        ),
    ],
)
def test_exception_of_a_wrong_shape_is_named(error: Any, expected: str) -> None:
    assert error_of(closed(error)) == f"Expected {expected.format(URI)}"


@pytest.mark.parametrize("link", ["cause", "context"])
@pytest.mark.parametrize("length", [MAX_EXCEPTION_CHAIN + 1, 200, 400])
def test_long_chain_of_exceptions_keeps_the_last_ones(link: str, length: int) -> None:
    sent = chain(length, link)
    ((kept, count),) = [(each["params"]["exception"], 0) for each in parse_chunk(closed(sent), URI) if each["params"]]
    assert kept["message"] == sent["message"]
    while kept:
        kept, count = kept[link], count + 1
    assert count == MAX_EXCEPTION_CHAIN


@pytest.mark.parametrize("link", ["cause", "context"])
def test_chain_of_exceptions_is_kept(link: str) -> None:
    (parsed,) = parse_chunk(closed(chain(MAX_EXCEPTION_CHAIN - 1, link)), URI)
    assert parsed["params"] == {"exception": chain(MAX_EXCEPTION_CHAIN - 1, link)}


def test_a_long_exception_is_cut() -> None:
    """Dagster shows and stores it several times."""
    long = {**exception(), "message": "m" * 5_000_000, "stack": ["first\n", *["frame\n"] * 1_000_000, "last\n"]}
    (parsed,) = parse_chunk(closed(long), URI)
    assert len(json.dumps(parsed)) < 3 * MAX_EXCEPTION_CHARACTERS
    stack = (parsed["params"] or {})["exception"]["stack"]
    assert stack[0].startswith("first\n")
    assert stack[-1].endswith("last\n")


def test_a_heartbeat_has_no_messages() -> None:
    assert list(parse_chunk(HEARTBEAT, URI)) == []


@pytest.mark.parametrize(
    ("level", "standard"),
    [
        ("INFO", "INFO"),
        ("warning", "WARNING"),
        ("Level 25", "INFO"),
        ("Level 35", "WARNING"),
        ("Level 5", "DEBUG"),
        ("Level 1000", "CRITICAL"),
        ("NOTICE", "INFO"),
    ],
)
def test_a_level_that_dagster_would_refuse_becomes_a_standard_one(level: str, standard: str) -> None:
    (parsed,) = parse_chunk(line("log", {"message": "a", "level": level}), URI)
    assert (parsed["params"] or {})["level"] == standard


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


def test_params_that_are_nested_too_deep_for_dagster_are_refused() -> None:
    list(parse_chunk(line("report_custom_message", nested(MAX_JSON_DEPTH)), URI))
    text = error_of(line("report_custom_message", nested(MAX_JSON_DEPTH + 1)))
    assert text == f"Expected at most {MAX_JSON_DEPTH} levels of JSON in line 1 of {URI}, got more."


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("params", "got"), [([], "an array"), ("text", "a string"), (1, "a number")])
def test_params_that_are_not_an_object_are_named(method: str, params: Any, got: str) -> None:
    expected = f"Expected 'params' in line 1 of {URI} to be an object or null, got {got}."
    assert error_of(line(method, params)) == expected


@pytest.mark.parametrize("name", ["asset_key", "check_name", "data_version"])
@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
def test_name_that_no_database_accepts_is_refused(name: str, text: str) -> None:
    assert f"Expected {name!r} in line 1" in error_of(line("report_asset_check", {name: text}))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "utf-8-sig"])
def test_line_in_another_encoding_is_refused(encoding: str) -> None:
    assert f"Expected line 1 of {URI} to be a JSON object in UTF-8" in error_of(
        line("log", {}).decode().encode(encoding)
    )


@given(st.binary())
def test_any_content_is_parsed_or_named(data: bytes) -> None:
    """No content causes another exception than the one that names the line."""
    with suppress(ChunkFormatError):
        assert all(isinstance(parsed, dict) for parsed in parse_chunk(data, URI))
