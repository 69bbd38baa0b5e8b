"""Access to the fields of the event, with errors that tell the caller what to change."""

import os
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

_MISSING = object()

Default = TypeVar("Default", bound=int | None)


class EventError(ValueError):
    """A field of the event is missing, or its value is invalid."""


def get_text(event: Mapping[str, Any], field: str, *, example: str) -> str:
    """Return a required field with a string that is not empty.

    Raises:
        EventError: The field is missing or something else.
    """
    value = event.get(field, _MISSING)
    if isinstance(value, str) and value:
        return value
    raise _error(field, "a string that is not empty", value, f"Set it in `event`, for example to {example!r}.")


def get_uri(event: Mapping[str, Any], field: str, *, example: str) -> str:
    """Return a required field with a `gs://` URI, or outside Cloud Run a local path.

    On Cloud Run a local path is in the container. Files written there are lost, and callers must not see files there,
    for example `/proc/self/environ`.
    Source of `K_SERVICE`: https://cloud.google.com/run/docs/container-contract#services-env-vars.

    Raises:
        EventError: The field is missing or something else.
    """
    uri = get_text(event, field, example=example)
    if uri.startswith("gs://") or "K_SERVICE" not in os.environ:
        return uri
    raise _error(field, "a `gs://` URI", uri, "A function on Cloud Run uses no local paths.")


def get_integer(event: Mapping[str, Any], field: str, *, default: Default, minimum: int) -> int | Default:
    """Return an optional field with an integer of at least `minimum`.

    Raises:
        EventError: The field is something else.
    """
    value = event.get(field)
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and value >= minimum:
        return value
    raise _error(field, f"an integer of at least {minimum}", value, f"Correct it, or leave it out for {default}.")


def get_choice(event: Mapping[str, Any], field: str, choices: Collection[str]) -> str:
    """Return a required field with one of `choices`.

    Raises:
        EventError: The field is missing or something else.
    """
    value = event.get(field, _MISSING)
    if isinstance(value, str) and value in choices:
        return value
    known = ", ".join(repr(choice) for choice in choices)
    raise _error(field, f"one of {known}", value, "Set it in `event` of `PipesCloudFunctionClient.run`.")


def _error(field: str, expected: str, value: object, advice: str) -> EventError:
    got = "nothing" if value is _MISSING else f"{value!r} ({type(value).__name__})"
    return EventError(f"Expected {field!r} in the event to be {expected}, got {got}. {advice}")
