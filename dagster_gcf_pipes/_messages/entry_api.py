"""Reads the log entries of sessions from Cloud Logging: page by page, and live.

A page needs `requests` alone. Live tailing needs gRPC and google-cloud-logging, which the extra `logging` installs.

Sources: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list and
https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/tail.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from gcf_pipes._shared.once import Once
from gcf_pipes._shared.protocol import ENTRY_FIELD

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport.requests import AuthorizedSession

API_URL: Final = "https://logging.googleapis.com"
TAIL_ADDRESS: Final = "logging.googleapis.com:443"
MAX_PAGE: Final = 1000
"""Entries of a page. The API refuses more."""
MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
"""Bytes of a page. A page of our own entries has 6 MB at most; a function may print others."""
READ_TIMEOUT: Final = 20.0
"""Seconds that a page may take."""
TOKEN_TIMEOUT: Final = 10.0
"""Seconds that the request for an access token may take."""
_SCOPE: Final = "https://www.googleapis.com/auth/logging.read"
_BLOCK: Final = 256 * 1024
_OK, _BAD_REQUEST, _UNAUTHORIZED, _TOO_MANY, _SERVER_ERROR = 200, 400, 401, 429, 500
_MAX_NUMBER: Final = 10**9
_ORDER: Final = "timestamp asc"


class Entry(NamedTuple):
    """A part of a session's messages.

    Attributes:
        session: The session's id.
        delivery: A text that is unique among the deliveries of the call. Empty if the entry has none.
        number: Its number in the session, from 1 on.
        data: The text.
    """

    session: str
    delivery: str
    number: int
    data: str


@dataclass(frozen=True)
class EntryPage:
    """A page of entries.

    Attributes:
        entries: The entries that are parts of sessions.
        next_token: The token of the next page, or an empty text.
    """

    entries: list[Entry]
    next_token: str


class EntryReadError(Exception):
    """Cloud Logging could not be read. The text says why.

    Attributes:
        transient: Whether another attempt may succeed.
        over_quota: Whether the project made too many requests.
    """

    def __init__(self, text: str, *, transient: bool, over_quota: bool = False) -> None:
        super().__init__(text)
        self.transient = transient
        self.over_quota = over_quota


class PageTooLargeError(Exception):
    """A page has more than `MAX_PAGE_BYTES`."""


class TailEndedError(Exception):
    """Live tailing ended, or did not begin.

    Attributes:
        allowed: Whether it may begin again. It may not without the permission, or without the library.
        full: Whether the project has as many streams as it may have.
    """

    def __init__(self, text: str, *, allowed: bool, full: bool = False) -> None:
        super().__init__(text)
        self.allowed = allowed
        self.full = full


class EntryTail:
    """A stream of entries as they arrive.

    Args:
        channel: The gRPC channel.
        method: Begins the stream.
        request: What to follow.
    """

    def __init__(self, channel: Any, method: Any, request: Any) -> None:
        self._channel = channel
        self._closed = Event()
        self._call = method(self._requests(request))

    def responses(self) -> Iterator[tuple[list[Entry], bool]]:
        """Yield the entries of each response, and whether the server left out others.

        Raises:
            TailEndedError: The stream ended.
        """
        import grpc

        try:
            for response in self._call:
                yield [*_entries(map(_fields_of, response._pb.entries))], bool(response.suppression_info)  # noqa: SLF001
        except grpc.RpcError as error:
            raise _tail_ended(error) from error
        raise TailEndedError("The stream ended.", allowed=True)

    def close(self) -> None:
        """End the stream."""
        self._closed.set()
        self._call.cancel()
        self._channel.close()

    def _requests(self, request: Any) -> Iterator[Any]:
        """Yield the only request, and then keep the sending side open: its end may end the stream."""
        yield request
        self._closed.wait()


class EntryApi:
    """The API, for the entries of one project or view.

    Args:
        project: The project's ID or number.
        get_credentials: Returns the credentials, or None for the environment's own.
        view: The full name of the log view to read. None reads every entry that the identity may read.
    """

    def __init__(
        self, project: str, get_credentials: "Callable[[], Credentials | None]", *, view: str | None = None
    ) -> None:
        self.project = project
        self.source = view or f"projects/{project}"
        self._get_credentials = get_credentials
        self._credentials = Once[Any]()
        self._http = Once["AuthorizedSession"]()

    def list_page(self, filter_: str, *, token: str = "", size: int = MAX_PAGE) -> EntryPage:
        """Return a page of the entries that match a filter, those with the earliest timestamps first.

        Raises:
            EntryReadError: It could not be read.
            PageTooLargeError: It is too large.
        """
        from google.auth.exceptions import GoogleAuthError

        query = {"resourceNames": [self.source], "filter": filter_, "orderBy": _ORDER, "pageSize": size}
        if token:
            query["pageToken"] = token
        try:
            return self._request(query)
        except (requests.RequestException, GoogleAuthError) as error:
            transient = isinstance(error, requests.RequestException) or bool(getattr(error, "retryable", False))
            raise EntryReadError(f"Cannot read {self.source} in Cloud Logging: {error}", transient=transient) from error

    def open_tail(self, filter_: str) -> "EntryTail":
        """Follow the entries that match a filter. The caller must close the stream.

        Raises:
            TailEndedError: The stream did not begin.
        """
        try:
            from google.cloud.logging_v2.services.logging_service_v2 import transports
            from google.cloud.logging_v2.types import TailLogEntriesRequest
        except ImportError as error:
            raise TailEndedError(f"{error}", allowed=False) from error
        request = TailLogEntriesRequest(resource_names=[self.source], filter=filter_, buffer_window={"seconds": 0})
        channel = self._channel()
        return EntryTail(channel, transports.LoggingServiceV2GrpcTransport(channel=channel).tail_log_entries, request)

    def _channel(self) -> Any:
        import google.auth.transport.grpc
        import grpc
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        if TAIL_ADDRESS.startswith("127.0.0.1:"):  # needs neither TLS nor a token
            return grpc.insecure_channel(TAIL_ADDRESS)
        try:
            return google.auth.transport.grpc.secure_authorized_channel(self._load(), Request(), TAIL_ADDRESS)
        except GoogleAuthError as error:
            raise TailEndedError(f"{error}", allowed=False) from error

    def _request(self, query: Mapping[str, Any]) -> EntryPage:
        give_up_at = time.monotonic() + READ_TIMEOUT
        http = self._http.get(self._open)
        response = http.post(f"{API_URL}/v2/entries:list", json=query, timeout=READ_TIMEOUT, stream=True)
        with closing(response):
            body = bytearray()
            for block in response.iter_content(_BLOCK):
                body += block
                if len(body) > MAX_PAGE_BYTES:
                    raise PageTooLargeError
                if time.monotonic() > give_up_at:
                    raise requests.Timeout(f"the page did not arrive within {READ_TIMEOUT:g} s")
        if response.status_code != _OK:
            raise self._error(response.status_code, bytes(body))
        return _page(body)

    def _open(self) -> "AuthorizedSession":
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self._load(), refresh_timeout=TOKEN_TIMEOUT)

    def _load(self) -> Any:
        return self._credentials.get(self._load_once)

    def _load_once(self) -> Any:
        import google.auth
        from google.auth.credentials import with_scopes_if_required

        credentials = self._get_credentials() or google.auth.default(scopes=[_SCOPE])[0]
        return with_scopes_if_required(credentials, [_SCOPE])

    def _error(self, status: int, body: bytes) -> EntryReadError:
        reason, message = _reason(body)
        text = f'Cannot read {self.source} in Cloud Logging: {status}. Google says: "{message}"'
        if status in (_UNAUTHORIZED, 403):
            return EntryReadError(f"{text}.\nFix: {self._access_fix(reason)}", transient=False)
        transient = status >= _SERVER_ERROR or status == _TOO_MANY
        return EntryReadError(text, transient=transient, over_quota=status == _TOO_MANY)

    def _access_fix(self, reason: str) -> str:
        if reason == "SERVICE_DISABLED":
            return f"Enable the API: `gcloud services enable logging.googleapis.com --project={self.project}`."
        if self.source.startswith(f"projects/{self.project}/"):
            return (
                f"Grant Dagster's identity `roles/logging.viewAccessor` on the log view {self.source}, so that it may "
                "read the function's messages there."
            )
        return (
            "Grant Dagster's identity `roles/logging.viewer` in the project, so that it may read the function's "
            "messages. Or set `log_view` to a log view on which it has `roles/logging.viewAccessor`."
        )


def _tail_ended(error: Any) -> TailEndedError:
    from grpc import StatusCode

    code = error.code()
    never = (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED, StatusCode.UNIMPLEMENTED)
    allowed = code not in (*never, StatusCode.INVALID_ARGUMENT)
    return TailEndedError(
        f"{code.name}: {error.details()}", allowed=allowed, full=code is StatusCode.RESOURCE_EXHAUSTED
    )


def _page(body: bytearray) -> EntryPage:
    try:
        page = json.loads(body)
        fields = [(entry.get("jsonPayload") or {}).get(ENTRY_FIELD) for entry in page.get("entries", ())]
        return EntryPage([*_entries(fields)], page.get("nextPageToken", ""))
    except (ValueError, AttributeError) as error:
        raise EntryReadError(f"Cloud Logging responded with what is not a page: {error}", transient=True) from error


def _fields_of(entry: Any) -> object:
    """Return the fields of an entry of the protocol buffers, or None."""
    fields = entry.json_payload.fields
    return dict(fields[ENTRY_FIELD].struct_value.items()) if ENTRY_FIELD in fields else None


def _entries(found: Iterable[object]) -> Iterator[Entry]:
    """Yield those that are parts of sessions. Whoever can write to the log may have written the others."""
    for fields in found:
        if not isinstance(fields, dict):
            continue
        values: list[Any] = [fields.get(name) for name in ("session", "n", "data")]
        session, number, data = values
        if isinstance(session, str) and isinstance(data, str) and _is_number(number):
            yield Entry(session, str(fields.get("delivery", "")), int(number), data)


def _is_number(value: Any) -> bool:
    """Whether a value is a whole number. The protocol buffers have only floats."""
    return type(value) in {int, float} and 0 < value < _MAX_NUMBER and value == int(value)


def _reason(body: bytes) -> tuple[str, str]:
    """Return the reason of an error and its message."""
    try:
        error = json.loads(body)["error"]
        reasons = [detail["reason"] for detail in error.get("details", ()) if "reason" in detail]
        return (reasons or [""])[0], str(error["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", body[:200].decode("utf-8", errors="replace")
