"""Checks that the arguments of a call are JSON, before anything is opened, and reports where they are not."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from gcf_pipes._protocol import MAX_JSON_DEPTH

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError


def json_object(value: object, name: str) -> dict[str, Any]:
    """Check that a mapping can become a JSON object, and return it as a dict.

    Args:
        value: May hold strings, finite numbers, booleans, None, lists, tuples and dicts with strings as keys.
        name: The name of the argument, for the error.

    Raises:
        PipesCloudFunctionRequestError: It holds something else. The error names the type and the position.
    """
    if not isinstance(value, Mapping):
        raise _request_error(f"Expected `{name}` to be a mapping that can become a JSON object, got {_kind(value)}.")
    checked = dict(value)
    waiting: list[tuple[Any, tuple[object, ...]]] = [(checked, ())]
    while waiting:
        container, path = waiting.pop()
        for step, inner in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(container, dict) and not isinstance(step, str):
                raise _request_error(f"Expected the keys of `{_at(name, path)}` to be strings, got {step!r}.")
            if isinstance(inner, dict | list | tuple):
                waiting.append((inner, (*path, step)))
            elif not _is_scalar(inner):
                raise _request_error(
                    f"Expected `{_at(name, (*path, step))}` to be JSON, got {_kind(inner)}.\n"
                    "Fix: Pass strings, finite numbers, booleans, None, lists and dicts. Pass a date or a time as its "
                    "`isoformat()`."
                )
        if len(path) > MAX_JSON_DEPTH:
            raise _request_error(
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


def _request_error(text: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(text, allow_retries=False)
