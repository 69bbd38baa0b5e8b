"""Turns the content of a chunk into Pipes messages."""

import io
import json
from collections.abc import Iterator
from typing import Any, Final, TypedDict, cast, get_args

from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD, Method, PipesException, PipesMessage
from gcf_pipes._shape import ShapeError, check_shape, json_type

MOST_EARLIER_EXCEPTIONS: Final = 100
"""How long a chain of causes may be that comes with `closed`: what shows it goes down the chain by recursion."""

_NAMES: Final = ("asset_key", "check_name", "data_version")
"""Params that Dagster stores in columns of text: no database takes a lone surrogate, and PostgreSQL no NUL either.

Source: https://www.postgresql.org/docs/current/functions-string.html (`chr` gives no NUL, as text cannot hold it).
"""
_METHODS: tuple[str, ...] = get_args(Method)
_SAME_VERSION: Final = (
    "Install the same version of dagster-pipes on both sides, here and in the function's requirements.txt, and deploy "
    "the function again."
)
_KEYS = {PIPES_PROTOCOL_VERSION_FIELD, "method", "params"}


class _ClosedParams(TypedDict, total=False):
    exception: PipesException


class ChunkFormatError(ValueError):
    """A line of a chunk is not a Pipes message."""


def parse_chunk(data: bytes, uri: str) -> Iterator[PipesMessage]:
    """Yield the messages of a chunk in order; the ones before a bad line are yielded before it is complained about.

    Args:
        data: The content of the object.
        uri: The `gs://` URI of the object, for the error text.

    Raises:
        ChunkFormatError: A line is not a message of the Pipes protocol, of the version that is installed here.
    """
    for number, line in enumerate(io.BytesIO(data), start=1):
        yield _parse_message(line, f"line {number} of {uri}")


def _parse_message(line: bytes, where: str) -> PipesMessage:
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ChunkFormatError(
            f"Expected a Pipes message as JSON in UTF-8 in {where}, got something else: {error}"
        ) from error
    if not isinstance(message, dict) or not message.keys() >= _KEYS:
        raise ChunkFormatError(f"Expected a JSON object with the keys {sorted(_KEYS)} in {where}, got {line[:200]!r}.")
    _check_version(message[PIPES_PROTOCOL_VERSION_FIELD], where)
    if message["method"] not in _METHODS:
        raise ChunkFormatError(
            f"Expected a message with one of the methods {_METHODS} in {where}, got {line[:200]!r}. {_SAME_VERSION}"
        )
    _check_params(message["method"], message["params"], where)
    return cast("PipesMessage", message)


def _check_version(version: object, where: str) -> None:
    if version != PIPES_PROTOCOL_VERSION:
        got = repr(version[:100]) if isinstance(version, str) else json_type(version)
        raise ChunkFormatError(
            f"Expected version {PIPES_PROTOCOL_VERSION!r} of the Pipes protocol in {where}, got {got}. {_SAME_VERSION}"
        )


def _check_params(method: str, params: Any, where: str) -> None:
    """Check what Dagster does not: that they are an object, names that it stores, and the exception of `closed`."""
    if params is not None and not isinstance(params, dict):
        raise ChunkFormatError(f"Expected 'params' in {where} to be an object or null, got {json_type(params)}.")
    for name in _NAMES:
        if isinstance(text := (params or {}).get(name), str) and not _is_storable(text):
            raise ChunkFormatError(f"Expected {name!r} in {where} to be Unicode text without NUL, got {text[:100]!r}.")
    if method == "closed" and params:
        _check_closed(params, where)


def _is_storable(text: str) -> bool:
    return "\0" not in text and text == text.encode("utf-8", errors="replace").decode("utf-8")


def _check_closed(params: dict[str, Any], where: str) -> None:
    try:
        check_shape(params, _ClosedParams, f"the params of `closed` in {where}")
    except ShapeError as error:
        raise ChunkFormatError(str(error)) from error
    except RecursionError as error:
        raise _too_many_exceptions(where) from error
    if "exception" in params and not _ends_early(params["exception"], MOST_EARLIER_EXCEPTIONS):
        raise _too_many_exceptions(where)


def _ends_early(exception: PipesException, most: int) -> bool:
    earlier = [each for each in (exception["cause"], exception["context"]) if each]
    return not earlier or (most > 0 and all(_ends_early(each, most - 1) for each in earlier))


def _too_many_exceptions(where: str) -> ChunkFormatError:
    return ChunkFormatError(
        f"Expected no more than {MOST_EARLIER_EXCEPTIONS} exceptions before the one in {where}, got a longer chain."
    )
