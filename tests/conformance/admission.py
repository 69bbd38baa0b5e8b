"""Which requests a function by hand takes."""

import base64
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tests.conformance import bucket

LIMITS = {"DAGSTER_PIPES_MESSAGES": 8 * 1024, "DAGSTER_PIPES_CONTEXT": 2 * 1024 * 1024}
CAPABILITIES = {"forward_logs", "shared_cancel"}
NO_CONTEXT = {"data": {"run_id": "none", "retry_number": 0, "extras": {}, "asset_keys": ["none"]}}
PROTOCOL = "1 forward_logs shared_cancel"


class RefusedError(Exception):
    """The request is refused."""


@dataclass(frozen=True)
class Request:
    """A request that is taken."""

    event: Mapping[str, Any]
    context: dict[str, Any]
    messages: Mapping[str, Any]


def admit(method: str, body: bytes, headers: Mapping[str, str], defects: Collection[str]) -> Request:
    """Check a request in the order of the protocol's page."""
    if method != "POST":
        raise RefusedError("not a POST")
    _check_headers(headers, defects)
    event = _object(body, "the body")
    messages = _decode(event, "DAGSTER_PIPES_MESSAGES", defects)
    if not isinstance(messages.get("bucket"), str) or not isinstance(messages.get("key_prefix"), str):
        raise RefusedError("the messages params")
    return Request(event, _context(_decode(event, "DAGSTER_PIPES_CONTEXT", defects), defects), messages)


def _check_headers(headers: Mapping[str, str], defects: Collection[str]) -> None:
    number, *names = headers["Dagster-Pipes-Protocol"].split()
    if number != "1" and "takes_any_protocol" not in defects:
        raise RefusedError("another protocol")
    if set(names) - CAPABILITIES and "takes_any_capability" not in defects:
        raise RefusedError("another capability")
    if headers["Dagster-Pipes-Storage"] != "emulator":
        raise RefusedError("another storage") if "crashes_at_storage" not in defects else RuntimeError


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode())
    except ValueError as error:
        raise RefusedError(where) from error
    if not isinstance(value, dict):
        raise RefusedError(where)
    return value


def _decode(event: Mapping[str, Any], key: str, defects: Collection[str]) -> dict[str, Any]:
    if key not in event and key == "DAGSTER_PIPES_CONTEXT" and "takes_no_context" in defects:
        return NO_CONTEXT
    limit = 10**9 if "takes_bombs" in defects else LIMITS[key] // (4 if "small_contexts" in defects else 1)
    if "takes_any_encoding" in defects and event.get(key) == "%%%" and key == "DAGSTER_PIPES_CONTEXT":
        return NO_CONTEXT
    try:
        decompressor = zlib.decompressobj()
        data = decompressor.decompress(base64.b64decode(event[key], validate=True), limit)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise RefusedError(key) from error
    if decompressor.unconsumed_tail or not decompressor.eof:
        raise RefusedError(key)
    params = _object(data, key)
    if params.get("__dagster_pipes_version", "0.1") != "0.1" and "takes_any_pipes" not in defects:
        raise RefusedError(key)
    return params


def _context(params: Mapping[str, Any], defects: Collection[str]) -> dict[str, Any]:
    data = params.get("data")
    if "data" not in params and "bucket" in params and "no_context_objects" not in defects:
        data = json.loads(bucket.read(params["bucket"], params["key"]) or b"null")
    if not isinstance(data, dict) or not isinstance(data.get("run_id"), str):
        raise RefusedError("the context")
    if "requires_fields" in defects and "job_name" not in data:
        raise RefusedError("the context")
    if not isinstance(data.get("asset_keys"), list | None) and "checks_no_types" not in defects:
        raise RefusedError("the context")
    return data
