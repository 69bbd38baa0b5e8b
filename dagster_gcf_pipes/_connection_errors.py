"""Describes the errors of `requests`: why no response came, and what to do.

The libraries' own texts are not shown, because they contain the whole URL, and its query may hold secrets.
"""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ProxyError

from dagster_gcf_pipes._functions import is_loopback, redacted
from dagster_gcf_pipes._local_functions import local_functions

Cause = TypeVar("Cause", bound=BaseException)
_CHECK_URL: Final = "Check the URL, and that no proxy or firewall blocks this machine's connection to it."
_CERTIFICATES: Final = (
    "If your company's proxy replaces certificates, set REQUESTS_CA_BUNDLE to the path of a file that contains the "
    "proxy's certificate authority."
)
_PROXY: Final = "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment of the Dagster process."


@dataclass(frozen=True)
class ConnectionProblem:
    """Why no response came.

    Attributes:
        text: What happened.
        fix: What to do about it, or an empty text.
        retryable: Whether another attempt may succeed.
    """

    text: str
    fix: str = ""
    retryable: bool = True


def describe_connection_error(error: Exception, url: str, timeout: tuple[float, float]) -> ConnectionProblem:
    """Describe an error of `requests`, or of a library below it, without the URL's query and userinfo.

    Args:
        error: The error.
        url: The URL that was called.
        timeout: The connect and read timeouts, in seconds.
    """
    causes = list(error_chain(error))
    for describe in (_trust_problem, _proxy_problem, _url_problem, _tls_problem, _host_problem):
        if problem := describe(causes, url):
            return problem
    return ConnectionProblem(_other(error, causes, timeout), _CHECK_URL)


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it wraps in `args`, in `reason` (urllib3) or in the chain, each once."""
    seen: set[int] = set()
    queue: list[BaseException] = [error]
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        queue += [each for each in inner if isinstance(each, BaseException)]


def _trust_problem(causes: list[BaseException], _: str) -> ConnectionProblem | None:
    if certificate := _find(causes, ssl.SSLCertVerificationError):
        text = f"the server's TLS certificate is not trusted: {certificate.verify_message}"
        return ConnectionProblem(text, _CERTIFICATES, retryable=False)
    if "CA certificate bundle" in str(causes[0]):  # an `OSError` of `requests` that contains the path
        return ConnectionProblem("the certificate authorities cannot be read", _CERTIFICATES, retryable=False)
    return None


def _proxy_problem(causes: list[BaseException], _: str) -> ConnectionProblem | None:
    if not isinstance(causes[0], ProxyError):
        return None
    refused = _find(causes, ConnectionRefusedError)
    reason = "it refused the connection" if refused else _innermost_os_error(causes)
    return ConnectionProblem(f"the proxy cannot be used: {reason}", _PROXY, retryable=refused is None)


def _url_problem(causes: list[BaseException], url: str) -> ConnectionProblem | None:
    """Describe an invalid URL. The function's URL was checked before, so it is the proxy's if there is one."""
    if not isinstance(causes[0], ValueError | urllib3.exceptions.LocationValueError):
        return None
    if requests.utils.get_environ_proxies(url):
        return ConnectionProblem("the URL of the proxy is not valid", _PROXY, retryable=False)
    return ConnectionProblem(f"{redacted(url)} is not a valid URL", _CHECK_URL, retryable=False)


def _tls_problem(causes: list[BaseException], url: str) -> ConnectionProblem | None:
    tls = _find(causes, ssl.SSLError)
    if tls and tls.reason == "WRONG_VERSION_NUMBER" and is_loopback(urlsplit(url).hostname or ""):
        return ConnectionProblem("it does not speak TLS", "Write http:// instead of https://.", retryable=False)
    return ConnectionProblem(f"TLS failed: {tls.reason or type(tls).__name__}", _CHECK_URL) if tls else None


def _host_problem(causes: list[BaseException], url: str) -> ConnectionProblem | None:
    if _find(causes, socket.gaierror):
        return ConnectionProblem(f"the host name {_host(url)} cannot be resolved", _CHECK_URL)
    return _refused(url) if _find(causes, ConnectionRefusedError) else None


def _refused(url: str) -> ConnectionProblem:
    """Describe a refused connection. On this machine the function is not running, so a retry would fail too.

    But `dagster-gcf-pipes dev` starts a function again when its files change: then a retry succeeds after seconds.
    """
    parts = urlsplit(url)
    text = f"{_host(url)} refused the connection"
    if not is_loopback(parts.hostname or ""):
        return ConnectionProblem(text, _CHECK_URL)
    if url in local_functions().values():
        return ConnectionProblem(text, "Look at the output of `dagster-gcf-pipes dev`: the function has stopped.")
    port = parts.port or {"http": 80}.get(parts.scheme.lower(), 443)
    fix = (
        f"Start the function: `functions-framework --target=main --port={port}` in its folder (`python main.py` does "
        "not serve it). `dagster-gcf-pipes dev --function NAME=FOLDER` does that too."
    )
    return ConnectionProblem(text, fix, retryable=False)


def _other(error: Exception, causes: list[BaseException], timeout: tuple[float, float]) -> str:
    connect, read = timeout
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {connect:g} s"
    if isinstance(error, requests.Timeout) or _find(causes, TimeoutError):
        return f"no response within {read:g} s"
    if isinstance(error, ChunkedEncodingError | ContentDecodingError) or _find(
        causes, urllib3.exceptions.IncompleteRead
    ):
        return "the connection broke in the middle of the response"
    return f"the connection broke: {_innermost_os_error(causes)}"


def _innermost_os_error(causes: list[BaseException]) -> str:
    errors = [
        cause for cause in causes if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException)
    ]
    text = errors[-1].strerror or str(errors[-1]) if errors else ""
    return text or type(causes[-1]).__name__


def _find(causes: list[BaseException], kind: type[Cause]) -> Cause | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
