"""Refuses wrong arguments of `run` with an error that says what to write, in place of Python's `TypeError`."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from typing import Final, ParamSpec, TypeVar

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

P = ParamSpec("P")
R = TypeVar("R")

_OTHER_NAMES: Final = {
    "function": ("name", "function_name", "function_id"),
    "function_url": ("url", "uri", "endpoint", "function_uri", "service_url"),
    "event": ("payload", "body", "json", "data", "params", "input"),
    "extras": ("extra", "pipes_extras"),
    "context": ("ctx", "asset_context", "op_context"),
}
"""Names that other clients give to the arguments of `run`."""


def checked_arguments(run: Callable[P, R]) -> Callable[P, R]:
    """Check the names of a method's arguments before it is called. Its arguments are keyword-only.

    The decorated method raises a `PipesCloudFunctionRequestError` if an argument is missing, unknown or has no name.
    """
    parameters = inspect.signature(run).parameters.values()
    names = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    required = [each.name for each in parameters if each.name in names and each.default is each.empty]

    @functools.wraps(run)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        fields: Iterable[str] = getattr(type(args[0]), "model_fields", ()) if args else ()
        _check(len(args[1:]), kwargs, names, required, fields=[*fields])
        return run(*args, **kwargs)

    return checked


def what_was_meant(name: str, known: Collection[str]) -> str | None:
    """Return the known name that a misspelt one resembles most, or None."""
    return next(iter(get_close_matches(name, known, n=1)), None)


def _check(
    positional: int, given: Collection[str], names: Collection[str], required: Collection[str], *, fields: list[str]
) -> None:
    if positional:
        raise PipesCloudFunctionRequestError(
            f"Expected all arguments of `run` with their names, got {positional} without.\n"
            "Fix: Write `run(context=context, ...)`."
        )
    if unknown := [name for name in given if name not in names]:
        raise PipesCloudFunctionRequestError(
            f"Expected some of the arguments {', '.join(names)}, got {', '.join(map(repr, unknown))}.\n"
            f"Fix: {' '.join(_correction(name, names, fields) for name in unknown)}"
        )
    if missing := [name for name in required if name not in given]:
        raise PipesCloudFunctionRequestError(
            f"Expected the argument `{missing[0]}` of `run`, got none.\n"
            "Fix: Write `run(context=context, ...)`, with the context of the asset, the op or the asset check."
        )


def _correction(name: str, names: Collection[str], fields: Collection[str]) -> str:
    if name in fields:
        return f"Pass `{name}` to the resource: `PipesCloudFunctionClient({name}=...)`."
    other = next((meant for meant, others in _OTHER_NAMES.items() if name in others), None)
    if meant := other or what_was_meant(name, names):
        return f"Write `{meant}=` in place of `{name}=`."
    if field := what_was_meant(name, fields):
        return f"Pass `{field}` to the resource: `PipesCloudFunctionClient({field}=...)`."
    return f"Leave `{name}` out, or put it into `event`."
