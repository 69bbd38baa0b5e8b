"""The body of a call: the event, checked to be JSON, and the bootstrap payload."""

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

from gcf_pipes._shared.json_validation import has_more_marks
from gcf_pipes._shared.protocol import BOOTSTRAP_KEYS, MAX_EVENT_MARKS, MAX_JSON_DEPTH, MAX_REQUEST_BYTES

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

_USE_BUCKET: Final = "Fix: Put large input into a bucket, and pass its URI in the event."


def encode_body(event: Mapping[str, Any], bootstrap: Mapping[str, str]) -> bytes:
    """Merge the bootstrap payload into the event, and encode the result as a request body.

    Raises:
        PipesCloudFunctionRequestError: The event is not JSON, has a key of Pipes, or the body is larger than the
            platform or the function accepts.
    """
    event = json_object(event, "event")
    if reserved := [key for key in BOOTSTRAP_KEYS if key in event]:
        raise PipesCloudFunctionRequestError(
            f"The event has the keys {reserved}, which Pipes adds itself.\nFix: Choose other keys."
        )
    body = json.dumps({**event, **bootstrap}).encode("ascii")
    if len(body) > MAX_REQUEST_BYTES:
        raise PipesCloudFunctionRequestError(
            f"The request body has {len(body):,} bytes; the platform accepts {MAX_REQUEST_BYTES:,}.\n{_USE_BUCKET}"
        )
    if has_more_marks(body, MAX_EVENT_MARKS):
        raise PipesCloudFunctionRequestError(
            f"The request body has more than {MAX_EVENT_MARKS:,} brackets, commas, colons and strings. The function "
            f"refuses it, because parsing it takes too much memory.\n{_USE_BUCKET}"
        )
    return body


def json_object(value: object, name: str) -> dict[str, Any]:
    """Check that a mapping can become a JSON object, and return it as a dict.

    Args:
        value: May hold strings, finite numbers, booleans, None, lists, tuples and dicts with strings as keys.
        name: The name of the argument, for the error.

    Raises:
        PipesCloudFunctionRequestError: It holds something else. The error names the type and the position.
    """
    if not isinstance(value, Mapping):
        raise PipesCloudFunctionRequestError(
            f"Expected `{name}` to be a mapping that can become a JSON object, got {_kind(value)}."
        )
    checked = dict(value)
    waiting: list[tuple[Any, tuple[object, ...]]] = [(checked, ())]
    while waiting:
        container, path = waiting.pop()
        for step, inner in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(container, dict) and not isinstance(step, str):
                raise PipesCloudFunctionRequestError(
                    f"Expected the keys of `{_at(name, path)}` to be strings, got {step!r}."
                )
            if isinstance(inner, dict | list | tuple):
                waiting.append((inner, (*path, step)))
            elif not _is_scalar(inner):
                raise PipesCloudFunctionRequestError(
                    f"Expected `{_at(name, (*path, step))}` to be JSON, got {_kind(inner)}.\n"
                    "Fix: Pass strings, finite numbers, booleans, None, lists and dicts. Pass a date or a time as its "
                    "`isoformat()`."
                )
        if len(path) > MAX_JSON_DEPTH:
            raise PipesCloudFunctionRequestError(
                f"Expected `{name}` to have at most {MAX_JSON_DEPTH} levels, got more at `{_at(name, path[:3])}`."
            )
    return checked


def _is_scalar(value: object) -> bool:
    return isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)


def _at(name: str, path: Iterable[object]) -> str:
    return name + "".join(f"[{step!r}]" for step in path)


def _kind(value: object) -> str:
    """Return the name of a value's type, because the value may be a secret. NaN and infinities are shown."""
    return str(value) if isinstance(value, float) else type(value).__name__
