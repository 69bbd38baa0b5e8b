"""Looks functions up: the one place that talks to the Cloud Functions API, and that translates its errors."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from dagster import MetadataValue

from dagster_gcf_pipes._errors import PipesCloudFunctionLookupError
from dagster_gcf_pipes._functions import FunctionName, parse_resource_name
from dagster_gcf_pipes._links import function_console_url
from dagster_gcf_pipes._metadata import METADATA_PREFIX

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.auth.credentials import Credentials
    from google.cloud import functions_v2

CACHE_SECONDS: Final = 300.0
"""How long an active function is not looked up again, in seconds."""
LOOKUP_TIMEOUT: Final = 30.0
"""Seconds for which a look-up is attempted again after transient errors."""
ATTEMPT_TIMEOUT: Final = 10.0
"""Seconds that one attempt of a look-up may take."""
PLATFORM_TIMEOUT: Final = 60
"""The timeout of a function that sets none, in seconds.

Source: https://cloud.google.com/functions/docs/configuring/timeout.
"""
ACTIVE: Final = "ACTIVE"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
WITHOUT_LOOKUP: Final = "Or give `function_url`, and `function_timeout` of the resource: that needs no look-up."


@dataclass(frozen=True)
class FunctionInfo:
    """A function, as the Cloud Functions API describes it.

    Source: https://cloud.google.com/functions/docs/reference/rest/v2/projects.locations.functions.

    Attributes:
        name: Its project, region, name and Cloud Run service.
        url: The URL of its Cloud Run service (`serviceConfig.uri`), which has no path, so that it is at once what is
            called and the audience of the ID token. The function's other URL, on cloudfunctions.net, has a path.
        state: "ACTIVE", or why it is not: "FAILED", "DEPLOYING", "DELETING", "UNKNOWN", or one added since.
        state_messages: What the platform says of that state.
        environment: "GEN_2", or "GEN_1" for a function of the first generation.
        timeout_seconds: The function's own timeout, in seconds.
        revision: The revision of the Cloud Run service that was deployed last, such as "orders-00007-xyz".
    """

    name: FunctionName
    url: str
    state: str
    state_messages: tuple[str, ...]
    environment: str
    timeout_seconds: int
    revision: str


class FunctionLookup:
    """Looks functions up, and remembers the active ones for a while. Threads may share it.

    The identity in use needs `cloudfunctions.functions.get`, which `roles/cloudfunctions.viewer` holds.

    Args:
        get_credentials: Gives the credentials, or None for the environment's own; called once, at the first look-up.
        max_age: How long an active function is not looked up again, in seconds. Default 300.
        timeout: Seconds for which a look-up is attempted again after transient errors. Default 30.
    """

    def __init__(
        self,
        get_credentials: "Callable[[], Credentials | None]" = lambda: None,
        *,
        max_age: float = CACHE_SECONDS,
        timeout: float = LOOKUP_TIMEOUT,
    ) -> None:
        self._get_credentials = get_credentials
        self._max_age = max_age
        self._timeout = timeout
        self._lock = Lock()
        self._client: functions_v2.FunctionServiceClient | None = None
        self._known: dict[str, tuple[float, FunctionInfo]] = {}

    def find(self, name: FunctionName) -> FunctionInfo:
        """Describe a function, whatever its state.

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
        if self._client:
            self._client.transport.close()

    def _fetch(self, name: str) -> "functions_v2.Function":
        return self._connected().get_function(name=name, retry=_retry(self._timeout), timeout=ATTEMPT_TIMEOUT)

    def _connected(self) -> "functions_v2.FunctionServiceClient":
        from google.auth.credentials import with_scopes_if_required
        from google.cloud import functions_v2

        with self._lock:
            if self._client is None:
                credentials = with_scopes_if_required(self._get_credentials(), [_SCOPE])
                self._client = functions_v2.FunctionServiceClient(credentials=credentials, transport="rest")
            return self._client


def _describe(function: "functions_v2.Function", name: FunctionName) -> FunctionInfo:
    named = (
        parse_resource_name(function.name) or name
    )  # the answer has the project's ID where the question had its number
    config = function.service_config
    service = config.service.rpartition("/")[2]
    return FunctionInfo(
        name=FunctionName(named.project, named.region, named.function, service or None),
        url=config.uri,
        state=_name_of(function.state),
        state_messages=tuple(f"{message.type_}: {message.message}" for message in function.state_messages),
        environment=_name_of(function.environment),
        timeout_seconds=config.timeout_seconds or PLATFORM_TIMEOUT,
        revision=config.revision,
    )


def _name_of(value: Any) -> str:
    """Return the name of an enum's value; one that is newer than the library is a bare number."""
    return str(getattr(value, "name", value))


def _retry(timeout: float) -> "Retry":
    """Retry what may pass: a look-up changes nothing, so it can be repeated."""
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
        raise _not_found(name, error.message) from error
    except exceptions.Forbidden as error:
        raise _forbidden(name, error.message, error.reason) from error
    except (exceptions.RetryError, TransportError, requests.RequestException) as error:
        raise lookup_error(name, f"{error}. {WITHOUT_LOOKUP}") from error
    except (exceptions.GoogleAPICallError, ParseError) as error:
        raise lookup_error(name, f"{error}. {WITHOUT_LOOKUP}", allow_retries=False) from error
    except GoogleAuthError as error:
        raise _no_credentials(name, error) from error


def lookup_error(name: FunctionName, reason: str, *, allow_retries: bool = True) -> PipesCloudFunctionLookupError:
    """Return the error that a function could not be looked up, with a link to where it should be."""
    metadata: dict[str, MetadataValue[Any]] = {f"{METADATA_PREFIX}name": MetadataValue.text(name.resource_name)}
    if url := function_console_url(name):
        metadata[f"{METADATA_PREFIX}function"] = MetadataValue.url(url)
    return PipesCloudFunctionLookupError(
        f"Cannot call the function {name.function!r} of the project {name.project!r} in {name.region!r}: {reason}",
        metadata,
        allow_retries=allow_retries,
    )


def _not_found(name: FunctionName, message: str) -> PipesCloudFunctionLookupError:
    return lookup_error(
        name,
        f"it does not exist ({message}). Check the region and the name, and that it is deployed: "
        f"`gcloud functions list --project={name.project}` lists the functions of the project with their regions. "
        "What was deployed with `gcloud run deploy` is a service, and no function: give its URL as `function_url`.",
        allow_retries=False,
    )


def _forbidden(name: FunctionName, message: str, reason: str | None) -> PipesCloudFunctionLookupError:
    if reason == "SERVICE_DISABLED":
        fix = f"Enable the API: `gcloud services enable cloudfunctions.googleapis.com --project={name.project}`."
    else:
        fix = (
            "Grant the identity in use `cloudfunctions.functions.get`, which `roles/cloudfunctions.viewer` holds, and "
            "check the names of project and region: one that does not exist is forbidden as well."
        )
    return lookup_error(name, f"looking it up is forbidden ({message}). {fix} {WITHOUT_LOOKUP}", allow_retries=False)


def _no_credentials(name: FunctionName, error: Exception) -> PipesCloudFunctionLookupError:
    return lookup_error(
        name,
        f"looking it up needs credentials, and there are none that work ({error}). Log in with "
        "`gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a credentials file. "
        f"{WITHOUT_LOOKUP}",
        allow_retries=False,
    )
