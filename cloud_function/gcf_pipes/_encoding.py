"""Encodes Pipes messages as lines of JSON, and refuses messages that Dagster would not accept."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD, DagsterPipesError, PipesMessage

from gcf_pipes._shared.exceptions import bound_exception
from gcf_pipes._shared.json_validation import has_more_levels
from gcf_pipes._shared.log_levels import standard_level_of
from gcf_pipes._shared.protocol import MAX_CHUNK_BYTES, MAX_JSON_DEPTH


def make_message(method: str, params: Mapping[str, Any]) -> PipesMessage:
    """Return a message of the Pipes protocol."""
    fields: Any = {PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION, "method": method, "params": params}
    message: PipesMessage = fields
    return message


def encode_message(message: PipesMessage) -> bytes:
    """Return a message as a line of JSON.

    Raises:
        DagsterPipesError: The message is not JSON serializable, nested too deep, or too large.
    """
    method, params = message["method"], message["params"]
    if params and method in _ADAPTERS:
        params = _ADAPTERS[method](params)
    if has_more_levels(params, MAX_JSON_DEPTH - 1):
        raise DagsterPipesError(
            f"Expected the params of the Pipes message `{method}` to be nested at most {MAX_JSON_DEPTH} levels deep.\n"
            "Fix: Flatten the value, or pass it as text: `json.dumps(value)`."
        )
    line = _dump({**message, "params": params}, method)
    if len(line) > MAX_CHUNK_BYTES:
        raise DagsterPipesError(
            f"Expected the Pipes message `{method}` to have at most {MAX_CHUNK_BYTES:,} bytes, got {len(line):,}.\n"
            "Fix: Store large data in a bucket, and report its URI."
        )
    return line


def _dump(message: Mapping[str, Any], method: str) -> bytes:
    try:
        return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
    except (TypeError, ValueError) as error:
        raise DagsterPipesError(
            f"Expected the params of the Pipes message `{method}` to be JSON serializable: {error}"
        ) from error


def _with_standard_level(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace the level: Dagster accepts only the names of the standard levels."""
    return {**params, "level": standard_level_of(params["level"])}


def _with_bounded_exception(params: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**params, "exception": bound_exception(params["exception"])} if "exception" in params else params


_ADAPTERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]] = {
    "log": _with_standard_level,
    "closed": _with_bounded_exception,
}
