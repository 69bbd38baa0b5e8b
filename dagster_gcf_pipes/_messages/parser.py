"""Parses chunks into Pipes messages. Everything in a bucket is untrusted."""

import functools
import io
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypedDict, cast, get_args, get_type_hints

from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, Method, PipesException, PipesMessage
from gcf_pipes._shared.exceptions import limit_exception
from gcf_pipes._shared.json_validation import (
    SAME_VERSION_FIX,
    JsonValidationError,
    check_protocol_version,
    excerpt,
    has_more_levels,
    json_type,
    parse_json_object,
    validate_json,
)
from gcf_pipes._shared.log_levels import standard_level_of
from gcf_pipes._shared.protocol import (
    HEARTBEAT,
    MAX_CLOSED_RESPONSE_BYTES,
    MAX_JSON_DEPTH,
    PARTITION_KEY,
    ClosedResponse,
    OpenedExtras,
    PartitionMaterialization,
    Usage,
)

_NAMES: Final = ("asset_key", "check_name", "data_version", "partition")
"""Params that Dagster stores in text columns. No database accepts a lone surrogate, and PostgreSQL no NUL.

Source: https://www.postgresql.org/docs/current/functions-string.html (`chr` returns no NUL: text cannot contain it).
"""
_METHODS: tuple[str, ...] = get_args(Method)
_KEYS = {PIPES_PROTOCOL_VERSION_FIELD, "method", "params"}
MAX_SECONDS: Final = 3600
"""The longest heartbeat interval: a function runs for an hour at most."""
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "heartbeat_interval": (0.001, MAX_SECONDS),
    "memory_limit_bytes": (1, 2**40),
    "cpus": (0.001, 1000),
    "wall_seconds": (0, 24 * MAX_SECONDS),
    "cpu_seconds": (0, 24_000 * MAX_SECONDS),
    "peak_memory_bytes": (1, 2**40),
}
"""The numbers that are reasonable: well above what an instance can have, and below what Dagster could not plot."""
_SUCCESS: Final = range(200, 300)
_NOTHING: Final = object()
MAX_FACT: Final = 256
"""Characters of a fact in `opened`: a trace, an id, a name."""


class _ClosedParams(TypedDict, total=False):
    exception: PipesException


class ChunkFormatError(ValueError):
    """A line of a chunk is not a Pipes message."""


def parse_chunk(data: bytes, where: str) -> Iterator[PipesMessage]:
    """Yield the messages of a chunk in order, up to a bad line. A heartbeat has none.

    Args:
        data: Newline-delimited JSON.
        where: Where it comes from, such as the `gs://` URI of the object, for the error text.

    Raises:
        ChunkFormatError: A line is not a message of the installed version of the Pipes protocol.
    """
    if data == HEARTBEAT:
        return
    for number, line in enumerate(io.BytesIO(data), start=1):
        try:
            message = _parse_message(line, f"line {number} of {where}")
        except JsonValidationError as error:
            raise ChunkFormatError(str(error)) from error
        yield message


def _parse_message(line: bytes, where: str) -> PipesMessage:
    message = parse_json_object(line, where)
    if not message.keys() >= _KEYS:
        raise ChunkFormatError(f"Expected {where} to have the keys {sorted(_KEYS)}, got {excerpt(line)}.")
    check_protocol_version(message, where)
    if message["method"] not in _METHODS:
        raise ChunkFormatError(
            f"Expected a message with one of the methods {_METHODS} in {where}, got {excerpt(line)}.\n"
            f"{SAME_VERSION_FIX}"
        )
    _check_params(message["method"], message["params"], where)
    return cast("PipesMessage", message)


def _check_params(method: str, params: Any, where: str) -> None:
    """Check what Dagster does not check, and adapt what it would refuse or cannot store."""
    if params is not None and not isinstance(params, dict):
        raise ChunkFormatError(f"Expected 'params' in {where} to be an object or null, got {json_type(params)}.")
    _check_names(params or {}, where)
    if method == "report_custom_message" and (report := _reserved(params)) is not _NOTHING:
        validate_json(report, PartitionMaterialization, f"{PARTITION_KEY!r} in {where}")
        _check_names(cast("PartitionMaterialization", report), where)
    if method == "closed" and params:
        if isinstance(exception := params.get("exception"), dict):
            params["exception"] = limit_exception(exception)
        validate_json(params, _ClosedParams, f"the params of `closed` in {where}")
    if method == "log" and params and isinstance(level := params.get("level"), str):
        # Dagster only accepts the standard levels, in any case
        params["level"] = standard_level_of(level if level.startswith("Level ") else level.upper())
    if has_more_levels(params, MAX_JSON_DEPTH):
        raise ChunkFormatError(f"Expected at most {MAX_JSON_DEPTH} levels of JSON in {where}, got more.")


def _check_names(params: Mapping[str, Any], where: str) -> None:
    for name in _NAMES:
        if isinstance(text := params.get(name), str) and not _is_storable(text):
            raise ChunkFormatError(f"Expected {name!r} in {where} to be Unicode text without NUL, got {excerpt(text)}.")


def _reserved(params: Mapping[str, Any] | None) -> object:
    """Return what a custom message has under the reserved key."""
    payload = (params or {}).get("payload")
    return payload.get(PARTITION_KEY, _NOTHING) if isinstance(payload, dict) else _NOTHING


def _is_storable(text: str) -> bool:
    return "\0" not in text and text == text.encode("utf-8", errors="replace").decode("utf-8")


def partition_report(message: PipesMessage) -> PartitionMaterialization | None:
    """Return the materialization of a partition in a parsed message, or None if it is another message."""
    report = _reserved(message["params"]) if message["method"] == "report_custom_message" else _NOTHING
    return None if report is _NOTHING else cast("PartitionMaterialization", report)


def read_opened_extras(extras: object) -> OpenedExtras:
    """Return the facts that have the right type and a reasonable size. The bucket's content is untrusted."""
    return cast("OpenedExtras", _reasonable_facts(extras, OpenedExtras))


def read_usage(usage: object) -> Usage:
    """Return the figures of `closed` that have the right type and are reasonable."""
    return cast("Usage", _reasonable_facts(usage, Usage))


def read_response(response: object, *, max_bytes: int = MAX_CLOSED_RESPONSE_BYTES) -> ClosedResponse | None:
    """Return the function's own response in `closed`, or None if there is none, or if it is not a 2xx of that size."""
    if not isinstance(response, Mapping):
        return None
    status, content_type, body = (response.get(name) for name in ("status", "content_type", "body"))
    base64 = response.get("base64", False)
    if type(status) is not int or status not in _SUCCESS or not isinstance(body, str):
        return None
    if len(body) > max_bytes or not isinstance(content_type, str) or not _is_header_value(content_type):
        return None
    if base64 is True and _is_base64(body):
        return ClosedResponse(status=status, content_type=content_type, body=body, base64=True)
    return None if base64 else ClosedResponse(status=status, content_type=content_type, body=body)


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _is_header_value(text: str) -> bool:
    return len(text) <= MAX_FACT and text.isascii() and (text.isprintable() or not text)


def _reasonable_facts(facts: object, type_: type) -> dict[str, Any]:
    types = _types_of(type_)
    items = facts.items() if isinstance(facts, Mapping) else ()
    return {name: fact for name, fact in items if _is_reasonable(name, fact, types.get(name))}


_types_of: Final = functools.cache(get_type_hints)


def _is_reasonable(name: str, fact: object, type_: object) -> bool:
    if type_ in {int, float}:
        least, most = _RANGES[name]
        return type(fact) in {int, type_} and least <= cast("float", fact) <= most  # JSON has one type of numbers
    return type(fact) is type_ and len(str(fact)) <= MAX_FACT
