"""One attempt of a call: its body, the POST, and its record, which says who answered. And a plain GET."""

import io
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import requests
import urllib3.exceptions
from gcf_pipes._shared.protocol import (
    CHUNK_COUNT_HEADER,
    DUPLICATE_CODE,
    ERROR_HEADER,
    NDJSON,
)
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._connection_errors import describe_connection_error
from dagster_gcf_pipes._errors import PipesCloudFunctionCallError, PipesCloudFunctionIdentityError
from dagster_gcf_pipes._fixes import CallerIdentity
from dagster_gcf_pipes._functions import redacted

MAX_ERROR_BODY: Final = 64 * 1024
"""Bytes of an error's response body that are read."""
ACCESS_STATUSES: Final = frozenset({401, 403, 404})
"""Statuses with which the platform rejects a call before it reaches the function.

Source: https://cloud.google.com/run/docs/troubleshooting (401, 403, and 404 by the ingress settings).
"""
_NOT_FOUND: Final = 404
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = range(500, 600)
_NO_INSTANCE: Final = "no available instance"
SUCCESS: Final = range(200, 300)
REDIRECTS: Final = range(300, 400)
_CHUNK_COUNT: Final = re.compile(r"[0-9]{1,9}")


class KeepAliveAdapter(HTTPAdapter):
    """Sends TCP keepalive probes. They detect a broken connection, and keep an idle one from being dropped.

    A function may work for an hour without a byte on the connection, and NAT gateways drop idle ones after minutes.
    Source: https://cloud.google.com/nat/docs/ports-and-addresses ("TCP Established Connection Idle Timeout", 20
    minutes); other clouds drop after 350 s, so the first probe goes out after 60.
    """

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Create the pool of connections with the socket options."""
        socket_options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):  # not every system has each of them
                socket_options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        super().init_poolmanager(*arguments, socket_options=socket_options, **options)


class _SessionWithoutRedirects(requests.Session):
    """Parses no redirect: `requests` does so even if it follows none, and fails at a malformed one."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None."""
        return None


def create_http_session() -> requests.Session:
    """Create an HTTP session whose connections are kept alive.

    It keeps no cookies: of many calls, none gets those of another, and session affinity would send all to one instance.
    Source: https://cloud.google.com/run/docs/configuring/session-affinity.
    """
    http = _SessionWithoutRedirects()
    http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    http.mount("https://", KeepAliveAdapter())
    http.mount("http://", KeepAliveAdapter())
    return http


@contextmanager
def shared_http_session(http: requests.Session, url: str, connections: int) -> Iterator[requests.Session]:
    """Use an HTTP session for so many requests of one URL at once, and close it in the end.

    `requests` keeps 10 connections to a host. A session with adapters of its own keeps them. And for each request,
    `requests` looks for a proxy among all environment variables, which takes as long as the rest.

    Args:
        http: The session.
        url: The URL of all requests.
        connections: How many requests there are at once.
    """
    for prefix, adapter in [*http.adapters.items()]:
        if isinstance(adapter, HTTPAdapter) and type(adapter) in {HTTPAdapter, KeepAliveAdapter}:
            http.mount(prefix, type(adapter)(pool_maxsize=connections, max_retries=adapter.max_retries))
    settings = http.merge_environment_settings(url, {}, None, None, None)
    http.proxies, http.verify, http.cert = settings["proxies"], settings["verify"], settings["cert"]
    http.trust_env = False
    with http:
        yield http


class AnsweredBy(Enum):
    """Who answered an attempt. The runtime's response headers decide it, never the status alone."""

    FUNCTION = auto()
    """Our runtime: the user's code has run."""
    REFUSAL = auto()
    """Our runtime: it refused the call before the user's code ran."""
    DUPLICATE = auto()
    """Our runtime: another delivery of the call, or Dagster itself, has claimed the session."""
    PLATFORM = auto()
    """Anything else: the front end, a proxy, or a function without our runtime."""
    NOBODY = auto()
    """Nobody: the request was sent, and no response arrived."""
    NOT_SENT = auto()
    """Nobody: there was no connection, no TLS, or no ID token. No byte of the body left this machine."""


@dataclass(frozen=True)
class Attempt:
    """What is known of one attempt of a call.

    Attributes:
        answered_by: Who answered.
        status: The HTTP status, or None without a response.
        error: Why there is no response, or an empty text.
        fix: What to do about it, or an empty text.
        body: The body of an error response as text.
        error_code: The code of the runtime's refusal, or None.
        chunk_count: How many chunks the function wrote, or None if the response does not say.
        identity_error: Why Google issued no ID token, if that is why the request was not sent.
        caller: Who called, with which ID token.
        redirect_to: The target of a redirect, without its query.
        retryable: Whether a retry may succeed. It cannot if, for example, a certificate is not trusted.
    """

    answered_by: AnsweredBy
    status: int | None = None
    error: str = ""
    fix: str = ""
    body: str = ""
    error_code: str | None = None
    chunk_count: int | None = None
    identity_error: PipesCloudFunctionIdentityError | None = None
    caller: CallerIdentity = field(default_factory=CallerIdentity)
    redirect_to: str = ""
    retryable: bool = True

    @property
    def denied_access(self) -> bool:
        """Whether the platform, or a function without our runtime, answered 401, 403 or 404."""
        return self.answered_by is AnsweredBy.PLATFORM and self.status in ACCESS_STATUSES

    @property
    def lacked_id_token(self) -> bool:
        """Whether the platform denied access because the caller cannot create the ID token that it needs."""
        needed = self.denied_access and self.status != _NOT_FOUND
        return needed and bool(self.caller.needs_token) and not self.caller.sent_token

    @property
    def redirected(self) -> bool:
        """Whether the response is a redirect. Redirects are not followed."""
        return self.answered_by is AnsweredBy.PLATFORM and self.status in REDIRECTS

    @property
    def is_platform_2xx(self) -> bool:
        """Whether the response is a 2xx without our runtime's header, perhaps from a function without our runtime."""
        return self.answered_by is AnsweredBy.PLATFORM and self.status in SUCCESS

    @property
    def found_no_instance(self) -> bool:
        """Whether the platform refused the attempt because too many requests run already.

        Source: https://cloud.google.com/run/docs/troubleshooting ("The request was aborted because there was no
        available instance", with 429 or 500).
        """
        if self.answered_by is not AnsweredBy.PLATFORM or self.status is None:
            return False
        return self.status == _TOO_MANY_REQUESTS or (self.status in _SERVER_ERRORS and _NO_INSTANCE in self.body)

    @property
    def may_have_started(self) -> bool:
        """Whether this attempt may have started the function, or may still start it, without a response of its own."""
        if self.answered_by is AnsweredBy.PLATFORM:
            return not self.denied_access and not self.redirected
        return self.answered_by in {AnsweredBy.NOBODY, AnsweredBy.DUPLICATE}

    @property
    def summary(self) -> str:
        """How the attempt went, in words that follow its name."""
        if self.status is not None:
            return f"got HTTP {self.status}{f' ({self.error_code})' if self.error_code else ''}"
        return f"{'was not sent' if self.answered_by is AnsweredBy.NOT_SENT else 'got no response'} ({self.error})"


class RequestBody(io.BytesIO):
    """The body of a request. It knows whether any of it was sent.

    `requests` reads it after it has connected, through TLS and a proxy if need be, and has sent the headers.

    Attributes:
        read_from: Whether `requests` has begun to send it.
    """

    read_from = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read a part of the body, to send it."""
        self.read_from = True
        return super().read(size)


def post(
    http: requests.Session,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    auth: FunctionAuth,
    timeout: tuple[float, float],
    read_messages: Callable[[requests.Response], str] | None = None,
) -> tuple[Attempt, requests.Response | None]:
    """Post a body to a function, and wait for the response: one attempt.

    Redirects are not followed. One would turn the POST into a GET, or send it to a host that you did not name.

    Args:
        http: The session to use.
        url: The function's URL.
        body: JSON.
        headers: Further request headers.
        auth: Adds the ID token, unless the session authenticates by itself.
        timeout: Connect and read timeout, in seconds.
        read_messages: Reads a response that has the messages of the call. It returns why they are not complete, or an
            empty text. None: no response has messages.

    Returns:
        The record of the attempt, and the response or None.
    """
    data = RequestBody(body)
    try:
        response = http.post(
            url,
            data=data,
            headers={"Content-Type": "application/json", **headers},
            auth=None if _authenticates(http) else auth,
            timeout=timeout,
            allow_redirects=False,
            stream=read_messages is not None,
        )
        if read_messages and _has_messages(response):
            with response:
                return _record_of_messages(response, auth, read_messages(response)), None
        _ = response.content
    except PipesCloudFunctionIdentityError as error:
        return Attempt(AnsweredBy.NOT_SENT, error="no ID token", identity_error=error), None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # `requests` does not wrap all errors of urllib3, of the file system and of its own parsers
        return _failed(error, url, timeout, sent=data.read_from), None
    return record_of(response, auth), response


def _has_messages(response: requests.Response) -> bool:
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    return response.status_code == HTTPStatus.OK and content_type == NDJSON


def _record_of_messages(response: requests.Response, auth: FunctionAuth, broken: str) -> Attempt:
    if broken:
        return Attempt(AnsweredBy.NOBODY, error=broken, caller=auth.caller)
    return Attempt(AnsweredBy.FUNCTION, status=response.status_code, caller=auth.caller)


def _failed(error: Exception, url: str, timeout: tuple[float, float], *, sent: bool) -> Attempt:
    if sent and not isinstance(error, OSError | urllib3.exceptions.HTTPError):
        return Attempt(AnsweredBy.NOBODY, error=f"the response cannot be read: {type(error).__name__}")
    described = describe_connection_error(error, url, timeout)
    if sent:
        return Attempt(AnsweredBy.NOBODY, error=described.text)
    return Attempt(AnsweredBy.NOT_SENT, error=described.text, fix=described.fix, retryable=described.retryable)


def record_of(response: requests.Response, auth: FunctionAuth) -> Attempt:
    """Extract from a response what the verdict needs. Treat every value as untrusted."""
    chunk_count = response.headers.get(CHUNK_COUNT_HEADER, "")
    error_code = response.headers.get(ERROR_HEADER)
    return Attempt(
        _who_answered(response),
        status=response.status_code,
        body="" if response.ok else _error_body(response),
        error_code=error_code[:100] if error_code else None,
        chunk_count=int(chunk_count) if _CHUNK_COUNT.fullmatch(chunk_count) else None,
        caller=auth.caller,
        redirect_to=redacted(response.headers.get("Location", "")),
    )


@dataclass(frozen=True)
class Fetched:
    """The response to a GET.

    Attributes:
        status: The HTTP status.
        headers: The response headers. Their names are case-insensitive.
        body: The start of the body, as text.
    """

    status: int
    headers: Mapping[str, str]
    body: str


def fetch(url: str, *, auth: FunctionAuth | None = None, timeout: tuple[float, float]) -> Fetched:
    """Get a URL, without following redirects. Of the body, at most `MAX_ERROR_BODY` bytes are read.

    Args:
        url: The URL.
        auth: Adds the ID token.
        timeout: Connect and read timeout, in seconds.

    Raises:
        PipesCloudFunctionIdentityError: Google issued no ID token.
        PipesCloudFunctionCallError: There was no response.
    """
    headers = {"Accept-Encoding": "identity"}  # a small compressed body may be a large one
    options: dict[str, Any] = {"headers": headers, "timeout": timeout, "allow_redirects": False, "stream": True}
    try:
        with create_http_session() as http, http.get(url, auth=auth, **options) as response:
            body = response.raw.read(MAX_ERROR_BODY)
            return Fetched(response.status_code, response.headers, body.decode("utf-8", errors="replace"))
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        described = describe_connection_error(error, url, timeout)
        fix = f"\nFix: {described.fix}" if described.fix else ""
        raise PipesCloudFunctionCallError(
            f"Could not get {redacted(url)}: {described.text}.{fix}", allow_retries=described.retryable
        ) from error


def _who_answered(response: requests.Response) -> AnsweredBy:
    has_chunks = response.headers.get(CHUNK_COUNT_HEADER, "0") != "0"  # a refusal of our runtime has none
    if (code := response.headers.get(ERROR_HEADER)) and not has_chunks:
        return AnsweredBy.DUPLICATE if code == DUPLICATE_CODE else AnsweredBy.REFUSAL
    return AnsweredBy.FUNCTION if CHUNK_COUNT_HEADER in response.headers else AnsweredBy.PLATFORM


def _authenticates(http: requests.Session) -> bool:
    return http.auth is not None or "Authorization" in http.headers


def _error_body(response: requests.Response) -> str:
    """Return the error message of the function's runtime, or the body as it is."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return response.content[:MAX_ERROR_BODY].decode("utf-8", errors="replace")
