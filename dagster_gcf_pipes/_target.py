"""Finds out which function a run calls: the one that is given by its name, or the one that is given by its URL."""

from dataclasses import dataclass
from typing import Final

from dagster import EnvVar

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import FunctionName, check_url, parse_function_name, parse_function_url, redacted
from dagster_gcf_pipes._functions_api import (
    ACTIVE,
    WITHOUT_LOOKUP,
    FunctionInfo,
    FunctionLookup,
    lookup_error,
)

_FIXES: Final = {
    "DEPLOYING": "Start the run again when the deployment has ended.",
    "FAILED": "Its last deployment failed: mend what the messages say and deploy it again.",
    "DELETING": "It is about to be gone.",
}


@dataclass(frozen=True)
class Target:
    """The function that a run calls.

    Attributes:
        url: Where it is called.
        audience: The audience of the ID token, or None if that has to follow from the URL.
        timeout: The function's own timeout, in seconds.
        name: What is known of its resource name.
        info: What was looked up of it, or None if it was given by its URL.
    """

    url: str
    audience: str | None
    timeout: int
    name: FunctionName
    info: FunctionInfo | None = None


def resolve_target(
    *,
    function: str | None,
    function_url: str | None,
    project: str | None,
    region: str | None,
    function_timeout: int,
    lookup: FunctionLookup,
) -> Target:
    """Return the function that is to be called.

    Args:
        function: Its name or full resource name: it is looked up, and has its own timeout.
        function_url: Its URL: nothing is looked up.
        project: The project of a function that is given by a plain name.
        region: The region of a function that is given by a plain name.
        function_timeout: The timeout of a function that is given by its URL, in seconds.
        lookup: Looks functions up.

    Raises:
        PipesCloudFunctionRequestError: Both name and URL are given or neither is, or what is given is none.
        PipesCloudFunctionLookupError: The look-up failed, or the function cannot be called in its present state.
    """
    _refuse_unless_one(function, function_url)
    if function_url is not None:
        check_url(function_url)
        return Target(function_url, None, function_timeout, parse_function_url(function_url))
    info = lookup.find(parse_function_name(function or "", project=project, region=region))
    _refuse_unless_callable(info)
    return Target(info.url, info.url, info.timeout_seconds, info.name, info)


def _refuse_unless_one(function: str | None, function_url: str | None) -> None:
    for name, text in (("function", function), ("function_url", function_url)):
        if isinstance(text, EnvVar):
            raise _request_error(
                f"Expected a text, got EnvVar({text.env_var_name!r}): Dagster resolves an EnvVar in the fields of "
                "resources alone. Pass its `get_value()`."
            )
        if not isinstance(text, str | None):
            raise _request_error(f"Expected `{name}` to be a text, got {type(text).__name__}.")
    if (function is None) == (function_url is None):
        given = "neither" if function_url is None else f"both, {function!r} and {redacted(function_url)!r}"
        raise _request_error(f"Expected either `function`, a name, or `function_url`, got {given}.")


def _request_error(text: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(text, allow_retries=False)


def _refuse_unless_callable(info: FunctionInfo) -> None:
    """Refuse a function of the first generation, and one whose last deployment is not what serves.

    While a function is deployed anew its older revision serves, but which of the two a call would meet is open.
    """
    if info.environment == "GEN_1":
        raise lookup_error(
            info.name,
            "it is a function of the first generation, which is not supported: deploy it with "
            "`gcloud functions deploy --gen2`.",
            allow_retries=False,
        )
    if info.state != ACTIVE:
        messages = " ".join(info.state_messages) or "no messages"
        got = f"expected its state to be ACTIVE, got {info.state} ({messages})."
        raise lookup_error(
            info.name,
            " ".join(filter(None, (got, _FIXES.get(info.state), WITHOUT_LOOKUP))),
            allow_retries=info.state not in ("FAILED", "DELETING"),
        )
    if not info.url:
        raise lookup_error(info.name, f"it is ACTIVE, but has no URL yet. {WITHOUT_LOOKUP}")
