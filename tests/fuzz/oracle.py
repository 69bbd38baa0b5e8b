"""Decides by the wire format whether a request is a call, without the entry point and its parsers."""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gcf_pipes._allowed_locations import MAX_KEY_BYTES
from gcf_pipes._shared.protocol import BOOTSTRAP_KEYS, MAX_INLINE_CONTEXT_BYTES, MAX_MESSAGES_PARAMS_BYTES

ALLOWED_BUCKET: Final = "accepted-bucket-7f3a"
ALLOWED_PREFIX: Final = "accepted/prefix-9c1e"
TIMEOUT_HEADER: Final = "Dagster-Pipes-Timeout"


@dataclass(frozen=True)
class Request:
    """A request of any caller.

    Attributes:
        body: The body.
        method: The HTTP method.
        headers: Names and values of headers.
    """

    body: bytes
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Call:
    """A request that is a call for the allowed bucket and prefix.

    Attributes:
        context: The context, as it was sent.
        key_prefix: The session's prefix.
    """

    context: Mapping[str, Any]
    key_prefix: str


Check: TypeAlias = Callable[[Any], bool]


def _is(type_: type) -> Check:
    return lambda value: type(value) is type_


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _array(check: Check) -> Check:
    return lambda value: type(value) is list and all(map(check, value))


def _mapping(check: Check) -> Check:
    return lambda value: type(value) is dict and all(map(check, value.values()))


def _fields(*required: str, **checks: Check) -> Check:
    """Require some fields, and check those that are there."""
    return lambda value: (
        type(value) is dict
        and all(name in value for name in required)
        and all(check(value[name]) for name, check in checks.items() if name in value)
    )


_is_string = _is(str)
_is_range = _fields(start=_is_string, end=_is_string)
_is_provenance = _fields(code_version=_is_string, input_data_versions=_mapping(_is_string), is_user_provided=_is(bool))
_CONTEXT: Final[Mapping[str, Check]] = {
    "asset_keys": _or_null(_array(_is_string)),
    "code_version_by_asset_key": _or_null(_mapping(_or_null(_is_string))),
    "provenance_by_asset_key": _or_null(_mapping(_or_null(_is_provenance))),
    "partition_key": _or_null(_is_string),
    "partition_key_range": _or_null(_is_range),
    "partition_time_window": _or_null(_is_range),
    "run_id": _is_string,
    "job_name": _or_null(_is_string),
    "retry_number": _is(int),
    "extras": _or_null(_is(dict)),
}
_is_context = _fields("run_id", "retry_number", "extras", **_CONTEXT)
_is_stdio_choice = _or_null(_is(bool))
CONTEXT_FIELDS: Final = tuple(_CONTEXT)

NAMES: Final = (
    "HTTP method",
    TIMEOUT_HEADER,
    "request body",
    *BOOTSTRAP_KEYS,
    "the Pipes context",
    "the messages params",
    "the context params",
    "the context at gs://",
)
"""The names in a refusal; for a field, with the field's own name before it."""


def read_call(request: Request) -> Call | None:
    """Return the call if the request is one for the allowed bucket and prefix, or None."""
    event = json_or_none(request.body)
    if request.method != "POST" or not _is_timeout(request.headers) or not isinstance(event, dict):
        return None
    limits = (MAX_INLINE_CONTEXT_BYTES, MAX_MESSAGES_PARAMS_BYTES)
    context, messages = (_params(event.get(key), limit) for key, limit in zip(BOOTSTRAP_KEYS, limits, strict=True))
    if context is None or messages is None or not _is_context(context.get("data")) or not _is_accepted(messages):
        return None
    return Call(context["data"], messages["key_prefix"])


def text_of(request: Request) -> str:
    """Return the text of a request, with its encoded values also decoded."""
    event = json_or_none(request.body)
    texts = [request.body.decode("utf-8", errors="replace"), json.dumps(event), repr(request.headers), request.method]
    values = event.values() if isinstance(event, dict) else []
    return "\n".join([*texts, *(json.dumps(decode_or_none(value)) for value in values)])


def json_or_none(data: bytes) -> Any:
    """Parse JSON in UTF-8, or return None."""
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def decode_or_none(value: Any, max_bytes: int = MAX_INLINE_CONTEXT_BYTES) -> Any:
    """Decode like `dagster_pipes.decode_param`, or return None if the value is invalid or too large."""
    try:
        data = zlib.decompress(base64.b64decode(value, validate=True))
    except (TypeError, ValueError, binascii.Error, zlib.error):
        return None
    return json_or_none(data) if len(data) <= max_bytes else None


def _params(value: Any, max_bytes: int) -> dict[str, Any] | None:
    params = decode_or_none(value, max_bytes) if isinstance(value, str) else None
    if not isinstance(params, dict) or params.get("__dagster_pipes_version", "0.1") != "0.1":
        return None
    return params


def _is_timeout(headers: tuple[tuple[str, str], ...]) -> bool:
    values = [value for name, value in headers if name == TIMEOUT_HEADER]
    return not values or (len(values) == 1 and re.fullmatch(r"[1-9][0-9]{0,5}", values[0]) is not None)


def _is_accepted(params: dict[str, Any]) -> bool:
    prefix = params.get("key_prefix")
    return (
        params.get("bucket") == ALLOWED_BUCKET
        and isinstance(prefix, str)
        and prefix.startswith(f"{ALLOWED_PREFIX}/")
        and prefix.isprintable()
        and not {"", ".", ".."} & set(prefix.split("/"))
        and len(prefix.encode()) <= MAX_KEY_BYTES
        and _is_stdio_choice(params.get("include_stdio_in_messages"))
    )
