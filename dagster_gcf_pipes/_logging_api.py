"""Reads log entries from the Cloud Logging API, and translates its errors.

Needs google-cloud-logging, which the extra `logging` installs, and the permission `logging.logEntries.list`.
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
from dagster_gcf_pipes._fixes import enable_api_command
from dagster_gcf_pipes._log_query import rfc3339

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud.logging import Client

ATTEMPT_TIMEOUT: Final = 5.0
"""Seconds that one request may take."""
MAX_LINES: Final = 50
"""The log entries that an error shows."""
MAX_LINE_LENGTH: Final = 1000
"""Characters of an entry that an error shows."""
_PLATFORM_LOGS: Final = ("run.googleapis.com%2Fvarlog%2Fsystem", "run.googleapis.com%2Frequests")
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True)
class LogLine:
    """One log entry.

    Attributes:
        timestamp: When it was written.
        severity: Such as "ERROR". "DEFAULT" if the entry has none.
        text: The text, at most 1,000 characters.
        from_platform: Whether the platform wrote it. Otherwise the function did.
    """

    timestamp: datetime
    severity: str
    text: str
    from_platform: bool = False

    def __str__(self) -> str:
        return f"{rfc3339(self.timestamp)} {self.severity} {self.text}"


class LogReadingError(Exception):
    """Log entries could not be read. The text says why.

    Attributes:
        retryable: Whether another attempt may succeed.
    """

    def __init__(self, text: str, *, retryable: bool) -> None:
        super().__init__(text)
        self.retryable = retryable


class LogReader:
    """Reads log entries. See `open_log_reader`."""

    def __init__(self, client: "Client", source: str) -> None:
        self._client = client
        self._source = source

    def read_latest(self, filter_: str) -> tuple[LogLine, ...]:
        """Return the latest entries that match a filter, oldest first, at most 50.

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
        get_credentials: Returns the credentials, or None for the environment's own.
        view: The full name of the log view to read. None reads every entry that the identity may read.

    Raises:
        LogReadingError: google-cloud-logging is not installed, or `get_credentials` failed.
    """
    from google.auth.transport.requests import AuthorizedSession, Request

    create_client = _import_client()
    credentials = _scoped(get_credentials)
    with (
        requests.Session() as tokens,
        AuthorizedSession(credentials, auth_request=Request(tokens)) as http,
    ):
        _set_timeout(tokens)
        _set_timeout(http)
        client = create_client(project=project, credentials=credentials, _http=http, _use_grpc=False)
        yield LogReader(client, view or f"projects/{project}")


def _import_client() -> Any:
    try:
        from google.cloud.logging import Client
    except ModuleNotFoundError as error:
        raise LogReadingError(
            "google-cloud-logging is not installed.\nFix: Install `dagster-gcf-pipes[logging]`.", retryable=False
        ) from error
    return Client


def _scoped(get_credentials: "Callable[[], Credentials | None]") -> "Credentials":
    import google.auth
    from google.auth.credentials import with_scopes_if_required
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials = get_credentials() or google.auth.default()[0]
    except (GoogleAuthError, PipesCloudFunctionError) as error:
        raise LogReadingError(str(error), retryable=False) from error
    scoped: Credentials = with_scopes_if_required(credentials, [_SCOPE])
    return scoped


class _BoundedAdapter(HTTPAdapter):
    """Sets the timeout of each request: google-cloud-logging uses 60 s and has no option for it."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request with `ATTEMPT_TIMEOUT`."""
        return super().send(*arguments, **{**options, "timeout": ATTEMPT_TIMEOUT})


def _set_timeout(http: requests.Session) -> None:
    http.mount("https://", _BoundedAdapter())
    http.mount("http://", _BoundedAdapter())


def _line(entry: Any) -> LogLine:
    """Convert an entry of google-cloud-logging, whose type declares no attributes."""
    return LogLine(
        timestamp=entry.timestamp,
        severity=entry.severity or "DEFAULT",
        text=_shortened(_text(entry)),
        from_platform=entry.log_name.endswith(_PLATFORM_LOGS),
    )


def _text(entry: Any) -> str:
    """Return the text of an entry: the outcome of its HTTP request, and its text or message."""
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
        raise LogReadingError(_forbidden(project, error.message, error.reason), retryable=False) from error
    except exceptions.TooManyRequests as error:
        raise LogReadingError(str(error), retryable=True) from error
    except (exceptions.ClientError, RefreshError) as error:
        raise LogReadingError(str(error), retryable=False) from error
    except (exceptions.GoogleAPICallError, GoogleAuthError, requests.RequestException, ValueError) as error:
        # google-cloud-logging raises a ValueError for an entry that it cannot parse
        raise LogReadingError(str(error), retryable=True) from error


def _forbidden(project: str, message: str, reason: str | None) -> str:
    if reason == "SERVICE_DISABLED":
        fix = f"Enable the API: `{enable_api_command('logging.googleapis.com', project)}`."
    else:
        fix = "Grant the identity in use `logging.logEntries.list`, for example through `roles/logging.viewer`."
    return f'permission denied. Google says: "{message.rstrip(".")}".\nFix: {fix}'
