"""The HTTP call of the function: its body, the call, and the one place that translates the errors of `requests`."""

import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import requests
from gcf_pipes._protocol import BOOTSTRAP_KEYS, CHUNK_COUNT_HEADER, ERROR_HEADER, MAX_REQUEST_BYTES
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.connection import HTTPConnection
from urllib3.exceptions import MaxRetryError, NewConnectionError

from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._errors import PipesCloudFunctionIdentityError, PipesCloudFunctionRequestError
from dagster_gcf_pipes._function_place import redacted
from dagster_gcf_pipes._json import json_object
from dagster_gcf_pipes._verdict import CallRecord

CHUNK_COUNT: Final = re.compile(r"[0-9]{1,9}")
_QUERY: Final = re.compile(r"\?\S+")
"""In an error of `requests`; it may be a secret."""
MAX_ERROR_BODY: Final = 64 * 1024
"""Bytes of an error's response body that are looked at."""


def encode_body(event: Mapping[str, Any], bootstrap: Mapping[str, str]) -> bytes:
    """Merge the bootstrap payload into the event and encode the result as a request body.

    Raises:
        PipesCloudFunctionRequestError: The event is not JSON, holds a key of Pipes' own, or the body is larger than the
            platform accepts.
    """
    event = json_object(event, "event")
    if reserved := [key for key in BOOTSTRAP_KEYS if key in event]:
        raise _request_error(f"The event holds {reserved}, which Pipes puts there itself. Choose other keys.")
    body = json.dumps({**event, **bootstrap}).encode("ascii")
    if len(body) > MAX_REQUEST_BYTES:
        raise _request_error(
            f"The request body has {len(body):,} bytes, and the platform accepts {MAX_REQUEST_BYTES:,}. "
            "Put large input into a bucket and pass its URI in the event."
        )
    return body


class KeepAliveAdapter(HTTPAdapter):
    """Sends TCP keepalive probes, so that a link that went silent is noticed, and an idle one is not dropped.

    A function may work for an hour without a byte on the connection; NAT gateways drop what is idle after minutes.
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


def create_http_session() -> requests.Session:
    """Create an HTTP session whose connections are kept alive."""
    http = requests.Session()
    http.mount("https://", KeepAliveAdapter())
    http.mount("http://", KeepAliveAdapter())
    return http


@dataclass(frozen=True)
class FunctionCall:
    """One finished HTTP call of a function.

    Attributes:
        record: What the verdict needs to know of it.
        response: The response, or None if the call was lost.
        duration: Seconds from the first attempt of the call to its end.
        attempts: How often it was attempted.
    """

    record: CallRecord
    response: requests.Response | None
    duration: float
    attempts: int = 1


def call_function(
    http: requests.Session,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    auth: FunctionAuth,
    timeout: tuple[float, float],
) -> FunctionCall:
    """Post a body to a function and wait for the response.

    A redirect is not followed: it would turn the POST into a GET, or send it to a host that nobody named.

    Args:
        http: The session to use.
        url: The function's URL.
        body: JSON.
        headers: Sent beside the content type.
        auth: Gives the call its ID token, unless the session authenticates by itself.
        timeout: Connect and read timeout, in seconds.

    Raises:
        PipesCloudFunctionRequestError: The URL is not one.
    """
    started = time.monotonic()
    try:
        response = http.post(
            url,
            data=body,
            headers={"Content-Type": "application/json", **headers},
            auth=None if _authenticates(http) else auth,
            timeout=timeout,
            allow_redirects=False,
        )
    except (InvalidURL, MissingSchema, InvalidSchema) as error:
        raise _request_error(
            f"Expected the URL of a function, such as https://..., got {redacted(url)!r}, which cannot be called "
            f"({type(error).__name__})."
        ) from error
    except PipesCloudFunctionIdentityError as error:
        no_token = CallRecord(lost="no ID token", sent=False, identity_error=error)
        return FunctionCall(no_token, None, time.monotonic() - started)
    except requests.RequestException as error:
        text = _QUERY.sub("?...", str(error))
        lost = CallRecord(lost=f"{type(error).__name__}: {text}", sent=not _found_no_connection(error))
        return FunctionCall(lost, None, time.monotonic() - started)
    record = replace(
        record_response(response),
        identity_error=auth.missing_token_error(response.status_code),
        hint=auth.hint(response.status_code),
    )
    return FunctionCall(record, response, time.monotonic() - started)


def record_response(response: requests.Response) -> CallRecord:
    """Note of a response what the verdict needs; nothing that it holds is trusted."""
    chunk_count = response.headers.get(CHUNK_COUNT_HEADER, "")
    return CallRecord(
        status=response.status_code,
        body="" if response.ok else _error_text(response),
        error_code=response.headers.get(ERROR_HEADER),
        chunk_count=int(chunk_count) if CHUNK_COUNT.fullmatch(chunk_count) else None,
        location=_without_query(response.headers.get("Location", "")),
    )


def _authenticates(http: requests.Session) -> bool:
    return http.auth is not None or "Authorization" in http.headers


def _without_query(url: str) -> str:
    return url.partition("?")[0]


def _found_no_connection(error: requests.RequestException) -> bool:
    """Whether the call never left: the name did not resolve, or the connection was refused or timed out."""
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectTimeout) or (
        isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
    )


def _error_text(response: requests.Response) -> str:
    """Return the message of an error of the function's runtime, or the body as it is."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return response.content[:MAX_ERROR_BODY].decode("utf-8", errors="replace")


def _request_error(text: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(text, allow_retries=False)
