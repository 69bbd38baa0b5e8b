"""What the writer encodes is what the reader parses, and a line that is no message is named."""

import json
from contextlib import suppress
from typing import Any, cast

import pytest
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, PipesMessage
from gcf_pipes._message_writer import _encode
from hypothesis import example, given
from hypothesis import strategies as st

from dagster_gcf_pipes._chunk_parser import ChunkFormatError, parse_chunk

URI = "gs://lake/session/3.json"


def message(params: Any) -> PipesMessage:
    # PipesMessage is a TypedDict whose first key is not an identifier, so that it cannot be written as a call
    return cast("PipesMessage", {PIPES_PROTOCOL_VERSION_FIELD: "0.1", "method": "log", "params": params})


def _is_one_text_in_json(text: str) -> bool:
    """Whether it has no surrogate pair: in JSON that is the same as the one character that the pair stands for."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == text


texts = st.text(st.characters()).filter(_is_one_text_in_json)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
params_of_messages = st.none() | st.dictionaries(texts, json_values, max_size=5)


@given(st.lists(params_of_messages, max_size=6))
@example([])
@example([None, {}])
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


def test_text_of_a_json_object_without_version_has_the_expected_key_and_the_line() -> None:
    with pytest.raises(ChunkFormatError) as caught:
        list(parse_chunk(b'{"hello": 1}', URI))
    assert "'__dagster_pipes_version'" in str(caught.value)
    assert '{"hello": 1}' in str(caught.value)


def test_text_of_a_long_bad_line_has_only_its_start() -> None:
    with pytest.raises(ChunkFormatError) as caught:
        list(parse_chunk(json.dumps({"hello": "x" * 1_000_000}).encode(), URI))
    assert '{"hello": "xxx' in str(caught.value)
    assert len(str(caught.value)) < 1000


@given(st.binary())
def test_any_content_is_parsed_or_named(data: bytes) -> None:
    """Whatever is in the bucket, there is no other exception than the one that names the line."""
    with suppress(ChunkFormatError):
        assert all(isinstance(parsed, dict) for parsed in parse_chunk(data, URI))
