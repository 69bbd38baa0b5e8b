"""Checks that a call reaches the function, without running the user's code."""

import logging
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from gcf_pipes._shared.halves import Half, capability_problem, protocol_problem, valid_version
from gcf_pipes._shared.protocol import CAPABILITIES, PROTOCOL_HEADER, VERSION_HEADER

from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._doctor.findings import ProblemError, SkippedError
from dagster_gcf_pipes._doctor.setup import Setup
from dagster_gcf_pipes._fixes import (
    CREDENTIALS_FIX,
    REDIRECT_FIX,
    CallerIdentity,
    access_fix,
    access_problem,
    no_id_token_problem,
    redirect_problem,
)
from dagster_gcf_pipes._functions import redacted
from dagster_gcf_pipes._http import ACCESS_STATUSES, REDIRECTS, Fetched, fetch
from dagster_gcf_pipes._outcome import ALL_BUSY, CAUSES_BEFORE_OPENED, NO_INSTANCE

_TIMEOUT: Final = (10.0, 45.0)
"""Connect and read timeout, in seconds. An instance may have to start."""
_log = logging.getLogger(__name__)
_NOT_FOUND: Final = 404
_FRAMEWORK_PAGE: Final = "<h1>Not Found</h1>"
"""Part of the page with which functions-framework responds for /robots.txt. The platform's 404 has another page."""


def check_access(setup: Setup) -> str:
    """Request a path that reaches the function's container, but not its code.

    functions-framework itself responds with 404 for `/robots.txt`, also in 3.8.0, the oldest version that we allow.
    Source: https://github.com/GoogleCloudPlatform/functions-framework-python/blob/main/src/functions_framework/__init__.py
    (`_configure_app`).
    """
    target = setup.target
    setup.require("id_token")
    url = _robots_url(target.url)
    auth = FunctionAuth(setup.identity, audience=setup.audience, log=_log, function=target.name)
    response = fetch(url, auth=auth, timeout=_TIMEOUT)
    setup.function = _function_of(response)
    if response.status == _NOT_FOUND and (setup.function or _FRAMEWORK_PAGE in response.body):
        return f"a request reaches {redacted(target.url)}"
    raise ProblemError(_problem(response, auth.caller, local=not setup.options.function_is_remote))


def check_version(setup: Setup) -> str:
    """Check that both sides work together, whatever their versions."""
    setup.require("access")
    if setup.findings["access"].status != "ok":
        raise SkippedError("it needs `access`, which was skipped")
    function, dagster = setup.function, Half.ours(CAPABILITIES)
    if function is None:
        raise SkippedError(
            "the function does not say it. Its entry point is not decorated with `gcf_pipes.pipes_function`, or was "
            "deployed before it was"
        )
    problem = protocol_problem(function=function, dagster=dagster)
    if problem := problem or capability_problem(function=function, dagster=dagster):
        raise ProblemError(problem)
    return f"gcf_pipes {function.version} is deployed, which works with this dagster-gcf-pipes {dagster.version}"


def _function_of(response: Fetched) -> Half | None:
    """Return what the response says about `gcf_pipes`. The first versions named only themselves."""
    version = valid_version(response.headers.get(VERSION_HEADER))
    announced = Half.parse(response.headers.get(PROTOCOL_HEADER), version)
    return announced or (Half(1, version=version) if version else None)


def _robots_url(url: str) -> str:
    """Return the URL of /robots.txt of the host.

    A host of cloudfunctions.net has many functions, and whether one of them sees its own name in the path is not
    documented. If it did, the request would run the user's code.
    """
    parts = urlsplit(url)
    if (parts.hostname or "").endswith(".cloudfunctions.net"):
        raise SkippedError(
            "a request to cloudfunctions.net might run your code. Pass --function in place of --url, or the URL on "
            "run.app that `gcloud functions describe` shows"
        )
    return urlunsplit((parts.scheme, parts.netloc, "/robots.txt", "", ""))


def _problem(response: Fetched, caller: CallerIdentity, *, local: bool) -> str:
    status = response.status
    if status in REDIRECTS:
        return f"{redirect_problem(status, redacted(response.headers.get('Location', '')))}\nFix: {REDIRECT_FIX}"
    if status in ACCESS_STATUSES and not local:
        if status != _NOT_FOUND and not caller.sent_token:
            return f"{no_id_token_problem(status, caller)}\nFix: {CREDENTIALS_FIX}"
        return f"{access_problem(status)}\nFix: {access_fix(status, caller)}"
    cause = ALL_BUSY if NO_INSTANCE in response.body else CAUSES_BEFORE_OPENED.get(status)
    if cause and not local:
        return f"Expected HTTP 404 for /robots.txt, got HTTP {status}. {cause.text}\nFix: {cause.fix}"
    return (
        f"Expected the HTTP 404 of functions-framework for /robots.txt, got HTTP {status} of something else.\n"
        "Fix: Check the URL. A function has to be served by functions-framework."
    )
