"""Reads log entries: the one place that talks to the Cloud Logging API, and that translates its errors.

It needs google-cloud-logging, an extra of this package, and `logging.logEntries.list`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter

from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._log_query import rfc3339

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud.logging import Client

ATTEMPT_TIMEOUT: Final = 5.0
"""Seconds that one request may take."""
MAX_LINES: Final = 50
MAX_LINE_LENGTH: Final = 1000
_PLATFORM_LOGS: Final = ("run.googleapis.com%2Fvarlog%2Fsystem", "run.googleapis.com%2Frequests")
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True)
class LogLine:
    """One log entry.

    Attributes:
        timestamp: When it was written.
        severity: Such as "ERROR"; "DEFAULT" if it has none.
        text: What it says, at most 1,000 characters.
        from_platform: Whether the platform wrote it, and not the function.
    """

    timestamp: datetime
    severity: str
    text: str
    from_platform: bool = False

    def __str__(self) -> str:
        return f"{rfc3339(self.timestamp)} {self.severity} {self.text}"


class LogReadingError(Exception):
    """Log entries could not be read; the text says why.

    Attributes:
        final: Whether another attempt would fail as well.
    """

    def __init__(self, text: str, *, final: bool) -> None:
        super().__init__(text)
        self.final = final


class LogReader:
    """Reads log entries. See `open_log_reader`."""

    def __init__(self, client: "Client", source: str) -> None:
        self._client = client
        self._source = source

    def read_latest(self, filter_: str) -> tuple[LogLine, ...]:
        """Return the latest entries that a filter finds, at most 50, the latest last.

        Raises:
            LogReadingError: They could not be read.
        """
        with _translated_errors(self._client.project):
            entries = self._client.list_entries(
                resource_names=[self._source], filter_=filter_, order_by="timestamp desc", page_size=MAX_LINES
            )
            return tuple(_line(entry) for entry in islice(entries, MAX_LINES))[::-1]


@contextmanager
def open_log_reader(
    project: str, get_credentials: "Callable[[], Credentials | None]", *, view: str | None = None
) -> "Iterator[LogReader]":
    """Open a reader of a project's log entries.

    Args:
        project: The project's ID or number.
        view: The full name of a log view to read them through, or None for all that the identity may read.
        get_credentials: Gives the credentials, or None for the environment's own. An error of google-auth or of ours
            becomes a `LogReadingError`.

    Raises:
        LogReadingError: google-cloud-logging is not installed, or there are no credentials.
    """
    from google.auth.transport.requests import AuthorizedSession, Request

    create_client = _import_client()
    credentials = _scoped(get_credentials)
    with (
        requests.Session() as tokens,
        AuthorizedSession(credentials, auth_request=Request(tokens)) as http,
    ):
        _bound(tokens)
        _bound(http)
        client = create_client(project=project, credentials=credentials, _http=http, _use_grpc=False)
        yield LogReader(client, view or f"projects/{project}")


def _import_client() -> Any:
    try:
        from google.cloud.logging import Client  # an extra
    except ModuleNotFoundError as error:
        raise LogReadingError(
            "google-cloud-logging is missing. Install `dagster-gcf-pipes[logging]`.", final=True
        ) from error
    return Client


def _scoped(get_credentials: "Callable[[], Credentials | None]") -> "Credentials":
    import google.auth
    from google.auth.credentials import with_scopes_if_required
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials = get_credentials() or google.auth.default()[0]
    except (GoogleAuthError, PipesCloudFunctionError) as error:
        raise LogReadingError(str(error), final=True) from error
    scoped: Credentials = with_scopes_if_required(credentials, [_SCOPE])
    return scoped


class _BoundedAdapter(HTTPAdapter):
    """Bounds each request in time: google-cloud-logging waits 60 s for an answer and takes no other number."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request with the timeout of an attempt."""
        return super().send(*arguments, **{**options, "timeout": ATTEMPT_TIMEOUT})


def _bound(http: requests.Session) -> None:
    http.mount("https://", _BoundedAdapter())
    http.mount("http://", _BoundedAdapter())


def _line(entry: Any) -> LogLine:
    """Return an entry of google-cloud-logging, whose type has no attributes for a type checker, as a line."""
    return LogLine(
        timestamp=entry.timestamp,
        severity=entry.severity or "DEFAULT",
        text=_shortened(_text(entry)),
        from_platform=entry.log_name.endswith(_PLATFORM_LOGS),
    )


def _text(entry: Any) -> str:
    """Return what an entry says: the outcome of the request that it records, its text, its message."""
    parts = []
    if request := entry.http_request:
        parts.append(f"HTTP {request.get('status', '?')} after {request.get('latency', '?')}")
    if isinstance(entry.payload, str):
        parts.append(entry.payload)
    elif entry.payload:
        parts.append(str(entry.payload.get("message") or json.dumps(entry.payload, ensure_ascii=False)))
    return ": ".join(parts)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_LINE_LENGTH else f"{text[: MAX_LINE_LENGTH - 3]}..."


@contextmanager
def _translated_errors(project: str) -> Iterator[None]:
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError, RefreshError

    try:
        yield
    except exceptions.Forbidden as error:
        raise LogReadingError(_forbidden(project, error.message, error.reason), final=True) from error
    except exceptions.TooManyRequests as error:
        raise LogReadingError(str(error), final=False) from error
    except (exceptions.ClientError, RefreshError) as error:
        raise LogReadingError(str(error), final=True) from error
    except (exceptions.GoogleAPICallError, GoogleAuthError, requests.RequestException, ValueError) as error:
        # google-cloud-logging raises a ValueError for an entry that it cannot read
        raise LogReadingError(str(error), final=False) from error


def _forbidden(project: str, message: str, reason: str | None) -> str:
    if reason == "SERVICE_DISABLED":
        fix = f"Enable the API: `gcloud services enable logging.googleapis.com --project={project}`."
    else:
        fix = "Grant the identity in use `logging.logEntries.list`, which `roles/logging.viewer` holds."
    return f"permission denied ({message}). {fix}"
