"""Authenticates the calls of a function with ID tokens, and records who called."""

from typing import Any, Final
from urllib.parse import urlsplit

import requests
from gcf_pipes._shared.protocol import CHUNK_COUNT_HEADER, ERROR_HEADER
from requests.auth import AuthBase
from requests.utils import rewind_body

from dagster_gcf_pipes._credentials import Identity, IdToken
from dagster_gcf_pipes._fixes import UNAUTHORIZED, CallerIdentity
from dagster_gcf_pipes._functions import UNKNOWN_FUNCTION, FunctionName, is_loopback
from dagster_gcf_pipes._keyed_log import Log

_HOST_WITH_NAME_IN_PATH: Final = ".cloudfunctions.net"


class FunctionAuth(AuthBase):
    """Authenticates the calls of one function, for `requests`.

    Sends an ID token only over TLS, and never to this machine. Each attempt asks the identity for the token, which
    caches it while it is valid. After a 401 of the platform nothing has run, so it sends the request once more, with a
    fresh token.

    Args:
        identity: Creates the ID tokens.
        audience: The audience of the tokens, or None to derive it from the URL with `audience_of`.
        log: Gets a debug line with the caller.
        function: What is known of the function's name.
    """

    def __init__(
        self, identity: Identity, *, audience: str | None, log: Log, function: FunctionName = UNKNOWN_FUNCTION
    ) -> None:
        self._identity = identity
        self._audience = audience
        self._log = log
        self._function = function
        self._needs_token: bool | None = None  # not known before a call: its session may authenticate by itself
        self._sent: IdToken | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token into the request.

        Raises:
            PipesCloudFunctionIdentityError: Google issued no token.
        """
        url = request.url or ""
        self._needs_token = needs_token(url)
        self._audience = self._audience or audience_of(url)
        if self._needs_token and (token := self._identity.id_token(self._audience)):
            self._set_header(token, request)
            request.hooks["response"].append(self._retry_if_unauthorized)
        self._log.debug(f"[pipes] calling {self._describe_caller()}")
        return request

    @property
    def caller(self) -> CallerIdentity:
        """The facts about who called."""
        return CallerIdentity(
            description=self._identity.describe() if self._needs_token else "",
            needs_token=self._needs_token,
            sent_token=self._sent is not None,
            email=self._sent.email if self._sent else None,
            audience=self._audience,
            function=self._function,
        )

    def _describe_caller(self) -> str:
        caller = self.caller
        if caller.sent_token:
            account = caller.email or "an unnamed account"
            return f"as {caller.description}, with an ID token of {account} for {caller.audience}"
        if not caller.needs_token:
            return "without an ID token: the URL is not https, or points to this machine"
        return f"without an ID token: {caller.description} cannot create one"

    def _set_header(self, token: IdToken, request: requests.PreparedRequest) -> None:
        self._sent = token
        request.headers["Authorization"] = f"Bearer {token.value}"

    def _retry_if_unauthorized(self, response: requests.Response, **options: Any) -> requests.Response:
        if self._sent is None or not _platform_refused_token(response):
            return response
        token = self._identity.id_token(str(self._audience), refused=self._sent.value)
        if token is None:
            return response
        request = response.request.copy()
        if request.body is not None:
            rewind_body(request)
        self._set_header(token, request)
        response.close()
        self._log.debug("[pipes] the platform refused the ID token with HTTP 401: calling again with a fresh one")
        return response.connection.send(request, **options)


def audience_of(url: str) -> str:
    """Return the audience that a function at a URL expects: the URL without query, and usually without path.

    A `run.app` URL belongs to one function, and its audience has no path. A `cloudfunctions.net` URL has the function's
    name in its path, and so has the audience.
    Source: https://cloud.google.com/run/docs/configuring/custom-audiences (the service's `run.app` URL),
    https://github.com/GoogleCloudPlatform/python-docs-samples/pull/7795 ("Cloud Functions uses your function's URL as
    the `audience` value", with its name), https://github.com/googleapis/google-auth-library-nodejs/issues/1208 (401
    without it).
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    name = parts.path.strip("/").partition("/")[0]
    in_path = (parts.hostname or "").endswith(_HOST_WITH_NAME_IN_PATH) and name
    return f"{origin}/{name}" if in_path else origin


def needs_token(url: str) -> bool:
    """Whether to send an ID token to a URL: it is https, and does not point to this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" and not is_loopback(parts.hostname or "")


def _platform_refused_token(response: requests.Response) -> bool:
    """Whether the platform refused the token, so that nothing has run. A 401 of the function's own has other headers.

    Source: https://datatracker.ietf.org/doc/html/rfc6750#section-3 (the header of a 401 for a bearer token), and
    https://github.com/googleapis/google-auth-library-nodejs/issues/1208 (an example).
    """
    headers = response.headers
    from_function = CHUNK_COUNT_HEADER in headers or ERROR_HEADER in headers
    about_token = headers.get("WWW-Authenticate", "").startswith("Bearer")
    return response.status_code == UNAUTHORIZED and about_token and not from_function
