"""Determines which function to call, and looks it up with the Cloud Functions API if it is given by its name."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dagster import EnvVar, MetadataValue
from gcf_pipes._shared.once import Once

from dagster_gcf_pipes._errors import METADATA_PREFIX, PipesCloudFunctionLookupError, PipesCloudFunctionRequestError
from dagster_gcf_pipes._fixes import enable_api_command
from dagster_gcf_pipes._functions import (
    UNKNOWN_FUNCTION,
    FunctionName,
    check_url,
    function_console_url,
    parse_function_name,
    parse_function_url,
    parse_resource_name,
    redacted,
)
from dagster_gcf_pipes._local_functions import find_local_function

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.api_core.retry import Retry
    from google.auth.credentials import Credentials
    from google.cloud import functions_v2

CACHE_SECONDS: Final = 300.0
"""How long an active function stays in the cache, in seconds."""
LOOKUP_DEADLINE: Final = 30.0
"""Seconds for which a lookup is retried after transient errors."""
ATTEMPT_TIMEOUT: Final = 10.0
"""The timeout of one attempt of a lookup, in seconds."""
PLATFORM_DEFAULT_TIMEOUT: Final = 60
"""The timeout of a function that sets none, in seconds.

Source: https://cloud.google.com/functions/docs/configuring/timeout.
"""
ACTIVE: Final = "ACTIVE"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_SKIP_LOOKUP: Final = "To skip the lookup, pass `function_url`, and set `function_timeout` of the resource."
_STATE_FIXES: Final = {
    "DEPLOYING": "Start the run again when the deployment has finished.",
    "FAILED": "Correct the errors above and deploy it again.",
    "DELETING": "It is being deleted: deploy it again.",
}


@dataclass(frozen=True)
class FunctionInfo:
    """A function, as the Cloud Functions API describes it.

    Source: https://cloud.google.com/functions/docs/reference/rest/v2/projects.locations.functions.

    Attributes:
        name: Its project, region, name and Cloud Run service.
        url: The URL of its Cloud Run service (`serviceConfig.uri`). It has no path, so it is both the URL to call and
            the audience of the ID token. The function's other URL, on cloudfunctions.net, has a path.
        state: "ACTIVE", "FAILED", "DEPLOYING", "DELETING", "UNKNOWN", or a newer state.
        state_messages: The platform's explanations of that state.
        environment: "GEN_2", or "GEN_1" for a function of the first generation.
        timeout_seconds: The function's own timeout, in seconds.
        revision: The latest deployed revision of its Cloud Run service, such as "orders-00007-xyz".
        concurrency: How many calls an instance takes at once.
        cpu: The CPUs of an instance, such as "1" or "0.583", or an empty text.
        memory: The memory limit of an instance, such as "256M" or "1Gi", or an empty text.
        variables: Its environment variables. Their values may be secrets, so they are not in the repr.
    """

    name: FunctionName
    url: str
    state: str
    state_messages: tuple[str, ...]
    environment: str
    timeout_seconds: int
    revision: str
    concurrency: int = 1
    cpu: str = ""
    memory: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


class FunctionLookup:
    """Looks functions up, and caches the active ones. Thread-safe.

    The identity in use needs `cloudfunctions.functions.get`, for example through `roles/cloudfunctions.viewer`.

    Args:
        get_credentials: Returns the credentials, or None for the environment's own. Called once, at the first lookup.
        max_age: How long an active function stays in the cache, in seconds. Default 300.
        timeout: Seconds for which a lookup is retried after transient errors. Default 30.
    """

    def __init__(
        self,
        get_credentials: "Callable[[], Credentials | None]" = lambda: None,
        *,
        max_age: float = CACHE_SECONDS,
        timeout: float = LOOKUP_DEADLINE,
    ) -> None:
        self._get_credentials = get_credentials
        self._max_age = max_age
        self._timeout = timeout
        self._client: Once[functions_v2.FunctionServiceClient] = Once()
        self._known: dict[str, tuple[float, FunctionInfo]] = {}

    def find(self, name: FunctionName) -> FunctionInfo:
        """Look a function up, in whatever state it is.

        Raises:
            PipesCloudFunctionLookupError: It does not exist, this identity may not look it up, or the API failed.
        """
        looked_up, info = self._known.get(name.resource_name, (0.0, None))
        if info and time.monotonic() - looked_up < self._max_age:
            return info
        with _translated_errors(name):
            info = _describe(self._fetch(name.resource_name), name)
        if info.state == ACTIVE:
            self._known[name.resource_name] = (time.monotonic(), info)
        return info

    def close(self) -> None:
        """Close the connections."""
        if client := self._client.pop():
            client.transport.close()

    def _fetch(self, name: str) -> "functions_v2.Function":
        client = self._client.get(self._create_client)
        return client.get_function(name=name, retry=_retry(self._timeout), timeout=ATTEMPT_TIMEOUT)

    def _create_client(self) -> "functions_v2.FunctionServiceClient":
        from google.auth.credentials import with_scopes_if_required
        from google.cloud import functions_v2

        credentials = with_scopes_if_required(self._get_credentials(), [_SCOPE])
        return functions_v2.FunctionServiceClient(credentials=credentials, transport="rest")


def _describe(function: "functions_v2.Function", name: FunctionName) -> FunctionInfo:
    named = parse_resource_name(function.name) or name  # it has the project's ID even if `name` has its number
    config = function.service_config
    service = config.service.rpartition("/")[2]
    return FunctionInfo(
        name=FunctionName(named.project, named.region, named.function, service or None),
        url=config.uri,
        state=_name_of(function.state),
        state_messages=tuple(f"{message.type_}: {message.message}" for message in function.state_messages),
        environment=_name_of(function.environment),
        timeout_seconds=config.timeout_seconds or PLATFORM_DEFAULT_TIMEOUT,
        revision=config.revision,
        concurrency=config.max_instance_request_concurrency or 1,
        cpu=config.available_cpu,
        memory=config.available_memory,
        variables=dict(config.environment_variables),
    )


def _name_of(value: Any) -> str:
    """Return the name of an enum's value. A value that is newer than the library is a number."""
    return str(getattr(value, "name", value))


def _retry(timeout: float) -> "Retry":
    """Return the policy that retries transient errors. A lookup is idempotent."""
    import requests
    from google.api_core import exceptions, retry
    from google.auth.exceptions import TransportError

    transient = (
        exceptions.TooManyRequests,
        exceptions.ServerError,
        requests.ConnectionError,
        requests.Timeout,
        TransportError,
    )
    return retry.Retry(
        predicate=retry.if_exception_type(*transient), initial=0.5, maximum=5.0, multiplier=2.0, timeout=timeout
    )


@contextmanager
def _translated_errors(name: FunctionName) -> Iterator[None]:
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.protobuf.json_format import ParseError

    try:
        yield
    except exceptions.NotFound as error:
        raise _not_found(name, _google_says(error)) from error
    except exceptions.Forbidden as error:
        raise _forbidden(name, _google_says(error), error.reason) from error
    except exceptions.RetryError as error:
        of_google = isinstance(error.cause, exceptions.GoogleAPICallError)
        last = _google_says(error.cause) if of_google else f"Last error: {error.cause}"
        raise _lookup_error(name, f"Google kept failing until the timeout. {last}", _SKIP_LOOKUP) from error
    except (TransportError, requests.RequestException) as error:
        raise _lookup_error(name, str(error), _SKIP_LOOKUP) from error
    except (exceptions.GoogleAPICallError, ParseError) as error:
        raise _lookup_error(name, str(error), _SKIP_LOOKUP, allow_retries=False) from error
    except GoogleAuthError as error:
        raise _no_credentials(name, error) from error


def _lookup_error(
    name: FunctionName, problem: str, fix: str, *, allow_retries: bool = True
) -> PipesCloudFunctionLookupError:
    """Return the error of a failed lookup, with a link to the function in the console."""
    metadata: dict[str, MetadataValue[Any]] = {f"{METADATA_PREFIX}name": MetadataValue.text(name.resource_name)}
    if url := function_console_url(name):
        metadata[f"{METADATA_PREFIX}function"] = MetadataValue.url(url)
    return PipesCloudFunctionLookupError(
        f"Cannot call the function {name.function!r} of the project {name.project!r} in {name.region!r}: "
        f"{problem.rstrip('.')}.\nFix: {fix}",
        metadata,
        allow_retries=allow_retries,
    )


def _google_says(error: "GoogleAPICallError") -> str:
    """Return Google's own text. The library puts the method and the URL of the request before it."""
    message = re.sub(r"^[A-Z]+ https://\S+: ", "", str(error.message))
    return f'Google says: "{message.rstrip(".")}"'


def _not_found(name: FunctionName, message: str) -> PipesCloudFunctionLookupError:
    fix = (
        "Check the region and the name, and that it is deployed: "
        f"`gcloud functions list --project={name.project}` lists the project's functions with their regions. "
        "`gcloud run deploy` deploys a service, not a function: pass a service's URL as `function_url`."
    )
    return _lookup_error(name, f"it does not exist. {message}", fix, allow_retries=False)


def _forbidden(name: FunctionName, message: str, reason: str | None) -> PipesCloudFunctionLookupError:
    if reason == "SERVICE_DISABLED":
        fix = f"Enable the API: `{enable_api_command('cloudfunctions.googleapis.com', name.project)}`."
    else:
        fix = (
            "Grant the identity in use `cloudfunctions.functions.get`, for example through "
            "`roles/cloudfunctions.viewer`. Check the names of project and region too: for ones that do not exist, "
            "Google returns the same error."
        )
    return _lookup_error(
        name,
        f"looking it up is forbidden. {message}",
        f"{fix} {_SKIP_LOOKUP}",
        allow_retries=False,
    )


def _no_credentials(name: FunctionName, error: Exception) -> PipesCloudFunctionLookupError:
    return _lookup_error(
        name,
        f"expected valid Google credentials to look it up, got: {error}",
        "Log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a credentials "
        f"file. {_SKIP_LOOKUP}",
        allow_retries=False,
    )


@dataclass(frozen=True)
class Target:
    """The function to call.

    Attributes:
        url: The URL to call.
        audience: The audience of the ID token, or None to derive it from the URL.
        timeout: The function's own timeout, in seconds.
        name: What is known of its resource name.
        info: The result of the lookup, or None if the function was given by its URL.
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
    """Return the function to call.

    Args:
        function: Its name or full resource name. It is looked up, and has its own timeout. If functions run on this
            machine (`GCF_PIPES_LOCAL_FUNCTIONS`), it is the local one.
        function_url: Its URL. Nothing is looked up.
        project: The project of a plain name.
        region: The region of a plain name.
        function_timeout: The timeout of a function that is given by its URL or runs on this machine, in seconds.
        lookup: Looks functions up.

    Raises:
        PipesCloudFunctionRequestError: Both name and URL are given, neither is, the given one is not valid, or there is
            no such function on this machine although functions run here.
        PipesCloudFunctionLookupError: The lookup failed, or the function cannot be called in its present state.
    """
    _check_arguments(function, function_url)
    if function_url is not None:
        check_url(function_url)
        return Target(function_url, None, function_timeout, parse_function_url(function_url))
    if local_url := find_local_function(function or ""):
        return Target(local_url, None, function_timeout, UNKNOWN_FUNCTION)  # no project: its logs are not in the cloud
    info = lookup.find(parse_function_name(function or "", project=project, region=region))
    _check_callable(info)
    return Target(info.url, info.url, info.timeout_seconds, info.name, info)


def find_revision(function: str, project: str | None, region: str | None, lookup: FunctionLookup) -> str | None:
    """Return the latest deployed revision of a function, in whatever state it is, or None if it runs on this machine.

    Args:
        function: Its name or full resource name.
        project: The project of a plain name.
        region: The region of a plain name.
        lookup: Looks functions up.

    Raises:
        PipesCloudFunctionRequestError: The name is not valid.
        PipesCloudFunctionLookupError: The lookup failed.
    """
    if find_local_function(function):
        return None
    return lookup.find(parse_function_name(function, project=project, region=region)).revision or None


def _check_arguments(function: str | None, function_url: str | None) -> None:
    for name, text in (("function", function), ("function_url", function_url)):
        if isinstance(text, EnvVar):
            raise PipesCloudFunctionRequestError(
                f"Expected `{name}` to be a string, got EnvVar({text.env_var_name!r}).\n"
                "Fix: Pass its `get_value()`. Dagster resolves an EnvVar only in the fields of resources."
            )
        if not isinstance(text, str | None):
            raise PipesCloudFunctionRequestError(f"Expected `{name}` to be a string, got {type(text).__name__}.")
    if (function is None) == (function_url is None):
        given = "neither" if function_url is None else f"both, {function!r} and {redacted(function_url)!r}"
        raise PipesCloudFunctionRequestError(f"Expected either `function`, a name, or `function_url`, got {given}.")


def _check_callable(info: FunctionInfo) -> None:
    """Refuse a function of the first generation, and a function whose latest deployment is not serving.

    During a deployment, either the old or the new revision may answer.
    """
    if info.environment == "GEN_1":
        problem = "it is a function of the first generation, which is not supported"
        raise _lookup_error(info.name, problem, "Deploy it with `gcloud functions deploy --gen2`.", allow_retries=False)
    if info.state != ACTIVE:
        messages = " ".join(info.state_messages) or "no messages"
        raise _lookup_error(
            info.name,
            f"expected its state to be ACTIVE, got {info.state} ({messages})",
            f"{_STATE_FIXES.get(info.state, '')} {_SKIP_LOOKUP}".strip(),
            allow_retries=info.state not in ("FAILED", "DELETING"),
        )
    if not info.url:
        raise _lookup_error(info.name, "it is ACTIVE, but has no URL yet", _SKIP_LOOKUP)
