"""Turns the content of chunks into Pipes messages. Everything in a bucket is untrusted."""

import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypedDict, cast, get_args, get_type_hints

from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD, Method, PipesException, PipesMessage
from gcf_pipes._json_validation import JsonValidationError, json_type, validate_json
from gcf_pipes._log_levels import standard_level_of
from gcf_pipes._protocol import HEARTBEAT, MAX_EXCEPTION_CHAIN, MAX_EXCEPTION_CHARACTERS, MAX_JSON_DEPTH, OpenedExtras

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
    """Yield the messages of a chunk in order; the ones before a bad line are yielded first. A heartbeat has none.

    Args:
        data: The content of the object.
        uri: The `gs://` URI of the object, for the error text.

    Raises:
        ChunkFormatError: A line is not a message of the Pipes protocol, of the version that is installed here.
    """
    if data == HEARTBEAT:
        return
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
    """Check what Dagster does not, and bound what it would refuse or cannot store."""
    if params is not None and not isinstance(params, dict):
        raise ChunkFormatError(f"Expected 'params' in {where} to be an object or null, got {json_type(params)}.")
    for name in _NAMES:
        if isinstance(text := (params or {}).get(name), str) and not _is_storable(text):
            raise ChunkFormatError(f"Expected {name!r} in {where} to be Unicode text without NUL, got {text[:100]!r}.")
    if method == "closed" and params:
        _bound_exception(params.get("exception"), MAX_EXCEPTION_CHAIN)
        _check_closed(params, where)
    if method == "log" and params and isinstance(level := params.get("level"), str):
        # Dagster takes a standard level in any case, and no other
        params["level"] = standard_level_of(level if level.startswith("Level ") else level.upper())
    if _is_deeper(params, MAX_JSON_DEPTH):
        raise ChunkFormatError(f"Expected at most {MAX_JSON_DEPTH} levels of JSON in {where}, got more.")


def _is_storable(text: str) -> bool:
    return "\0" not in text and text == text.encode("utf-8", errors="replace").decode("utf-8")


def _check_closed(params: dict[str, Any], where: str) -> None:
    try:
        validate_json(params, _ClosedParams, f"the params of `closed` in {where}")
    except JsonValidationError as error:
        raise ChunkFormatError(str(error)) from error


def _bound_exception(exception: Any, length: int) -> None:
    """Cut a chain of exceptions to a length, and the texts in it: Dagster shows and stores them several times."""
    if not isinstance(exception, dict):
        return
    if isinstance(message := exception.get("message"), str):
        exception["message"] = shortened(message, MAX_EXCEPTION_CHARACTERS)
    if isinstance(stack := exception.get("stack"), list) and all(isinstance(frame, str) for frame in stack):
        text = "".join(stack)
        exception["stack"] = stack if len(text) <= MAX_EXCEPTION_CHARACTERS else [_cut_middle(text)]
    for key in ("cause", "context"):
        if length > 1:
            _bound_exception(exception.get(key), length - 1)
        elif exception.get(key):
            exception[key] = None


def shortened(text: str, length: int) -> str:
    """Return a text of at most that many characters and an ellipsis."""
    return text if len(text) <= length else f"{text[:length]}..."


def _cut_middle(text: str) -> str:
    half = MAX_EXCEPTION_CHARACTERS // 2
    return f"{text[:half]}\n  ... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def _is_deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        level = [part for each in level if isinstance(each, dict | list) for part in _parts(each)]
        if not level:
            return False
    return True


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value)


MAX_FACT: Final = 256
"""Characters of a fact: a trace, an id, a name."""


def read_opened_extras(extras: object) -> OpenedExtras:
    """Return the facts that have the right type and a reasonable size. The bucket's content is untrusted."""
    types = get_type_hints(OpenedExtras)
    facts = extras.items() if isinstance(extras, Mapping) else ()
    known = {name: fact for name, fact in facts if _is_reasonable(fact, types.get(name))}
    return cast("OpenedExtras", known)


def _is_reasonable(fact: object, type_: object) -> bool:
    if type_ is float:  # JSON has one type of numbers
        return type(fact) in {int, float} and 0 < cast("float", fact) < math.inf
    return type(fact) is type_ and len(str(fact)) <= MAX_FACT
