"""Checks that what a run is given is JSON, before anything is opened, and says where it is not."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from gcf_pipes._protocol import MAX_JSON_DEPTH

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError


def json_object(value: object, name: str) -> dict[str, Any]:
    """Return a mapping as the JSON object that it becomes.

    Args:
        value: It may hold texts, finite numbers, booleans, None, lists, tuples and dicts with texts as keys.
        name: The argument that is checked, for the error.

    Raises:
        PipesCloudFunctionRequestError: It is something else; the error says what, and where.
    """
    if not isinstance(value, Mapping):
        raise _request_error(f"Expected `{name}` to be a mapping, which becomes a JSON object, got {_kind(value)}.")
    checked = dict(value)
    waiting: list[tuple[Any, tuple[object, ...]]] = [(checked, ())]
    while waiting:
        container, path = waiting.pop()
        for step, inner in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(container, dict) and not isinstance(step, str):
                raise _request_error(f"Expected the keys of `{_at(name, path)}` to be texts, got {step!r}.")
            if isinstance(inner, dict | list | tuple):
                waiting.append((inner, (*path, step)))
            elif not _is_scalar(inner):
                raise _request_error(
                    f"Expected `{_at(name, (*path, step))}` to be JSON, got {_kind(inner)}. Pass texts, finite "
                    "numbers, booleans, None, lists and dicts; a date or a time as its `isoformat()`."
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
    """Name a value's type: the value itself may be a secret, unless it is NaN or an infinity."""
    return str(value) if isinstance(value, float) else type(value).__name__


def _request_error(text: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(text, allow_retries=False)
