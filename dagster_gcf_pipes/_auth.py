"""Gives a call of a function its ID token, and says what is known of the caller when the call is refused."""

from logging import Logger
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from gcf_pipes._protocol import CHUNK_COUNT_HEADER, ERROR_HEADER
from requests.auth import AuthBase
from requests.utils import rewind_body

from dagster_gcf_pipes._errors import PipesCloudFunctionIdentityError
from dagster_gcf_pipes._functions import FunctionName
from dagster_gcf_pipes._gcloud import describe_url_command, grant_invoker_command
from dagster_gcf_pipes._google_auth_errors import WAYS_TO_AN_IDENTITY
from dagster_gcf_pipes._identity import Identity, IdToken
from dagster_gcf_pipes._loopback import is_loopback

UNAUTHORIZED: Final = 401
REFUSALS: Final = (UNAUTHORIZED, 403)
NOT_FOUND: Final = 404
UNKNOWN_FUNCTION: Final = FunctionName()
_PATH_IN_AUDIENCE: Final = ".cloudfunctions.net"


class FunctionAuth(AuthBase):
    """The authentication of the calls of one function, for `requests`.

    It sends an ID token over TLS alone, to no host of this machine, and asks for it anew at each attempt: it is cached
    as long as it is valid. A 401 of the platform, which is to say that nothing has run, is followed by one more request
    with a fresh token.

    Args:
        identity: Who calls.
        audience: Whom the tokens are for, or None for what the function's URL says, see `audience_of`.
        log: Told at the debug level who calls.
        function: What is known of its name, and where the function is, for the text of a refusal.
    """

    def __init__(
        self, identity: Identity, *, audience: str | None, log: Logger, function: FunctionName = UNKNOWN_FUNCTION
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
            PipesCloudFunctionIdentityError: Google gave none.
        """
        url = request.url or ""
        self._needs_token = needs_token(url)
        self._audience = self._audience or audience_of(url)
        if self._needs_token and (token := self._identity.id_token(self._audience)):
            self._put(token, request)
            request.hooks["response"].append(self._once_more_if_unauthorized)
        self._log.debug(f"[pipes] calling {self._how()}")
        return request

    def _how(self) -> str:
        if self._sent:
            return f"as {self._identity.describe()}, with an ID token of {self._sent.email} for {self._audience}"
        if not self._needs_token:
            return "without an ID token: the URL is not https, or of this machine"
        return f"without an ID token: {self._identity.describe()} cannot have one"

    def missing_token_error(self, status: int) -> PipesCloudFunctionIdentityError | None:
        """Return the error of a call that was refused for want of a token that this identity cannot have."""
        if status not in REFUSALS or self._sent or not self._needs_token:
            return None
        return PipesCloudFunctionIdentityError(
            f"The function answered HTTP {status}: it wants an ID token, and {self._identity.describe()} cannot have "
            f"one. {WAYS_TO_AN_IDENTITY}",
            allow_retries=False,
        )

    def hint(self, status: int) -> str:
        """Say what mends a refusal of the call, or nothing if that is not known.

        Source: https://cloud.google.com/run/docs/troubleshooting (401, 403, and 404 by the ingress settings).
        """
        if status == NOT_FOUND:
            return (
                f"Compare the URL with what `{describe_url_command(self._function)}` says. If it is the function's, "
                "deploy the function with `--ingress-settings=all`, or let Dagster run in a network that its ingress "
                "setting admits."
            )
        if status not in REFUSALS or self._needs_token is None:
            return ""
        if not self._sent:
            return "No ID token was sent: one goes over https alone, and to no host of this machine."
        if status == UNAUTHORIZED:
            return (
                f"The ID token was made for the audience {self._audience}. If the function's own URL is another one, "
                "as it is behind a domain or a load balancer, set `audience` of the resource to the URL that "
                f"`{describe_url_command(self._function)}` shows, or to a custom audience of the Cloud Run service."
            )
        return f"Let {self._sent.email} call it: `{grant_invoker_command(self._function, self._sent.email)}`."

    def _put(self, token: IdToken, request: requests.PreparedRequest) -> None:
        self._sent = token
        request.headers["Authorization"] = f"Bearer {token.value}"

    def _once_more_if_unauthorized(self, response: requests.Response, **options: Any) -> requests.Response:
        if self._sent is None or not _is_refusal_of_the_platform(response):
            return response
        token = self._identity.id_token(str(self._audience), refused=self._sent.value)
        if token is None:
            return response
        request = response.request.copy()
        rewind_body(request)
        self._put(token, request)
        response.close()
        self._log.debug("[pipes] the ID token was refused with HTTP 401: calling once more with a fresh one")
        return response.connection.send(request, **options)


def audience_of(url: str) -> str:
    """Return the audience that a function at a URL expects: the URL without query, and mostly without path.

    A `run.app` URL has the function alone, and its audience has no path; a `cloudfunctions.net` URL names the function
    in its path, and the audience does as well.
    Source: https://cloud.google.com/run/docs/configuring/custom-audiences (the service's `run.app` URL),
    https://github.com/GoogleCloudPlatform/python-docs-samples/pull/7795 ("Cloud Functions uses your function's URL as
    the `audience` value", with its name), https://github.com/googleapis/google-auth-library-nodejs/issues/1208 (401
    without it).
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    name = parts.path.strip("/").partition("/")[0]
    in_path = (parts.hostname or "").endswith(_PATH_IN_AUDIENCE) and name
    return f"{origin}/{name}" if in_path else origin


def needs_token(url: str) -> bool:
    """Whether a token may be sent there, and can be wanted there."""
    parts = urlsplit(url)
    return parts.scheme == "https" and not is_loopback(parts.hostname or "")


def _is_refusal_of_the_platform(response: requests.Response) -> bool:
    """Whether the platform refused the token, so that nothing has run; a 401 of the function's own says otherwise.

    Source: https://datatracker.ietf.org/doc/html/rfc6750#section-3 (what goes with a 401 of a bearer token), and for
    its words https://github.com/googleapis/google-auth-library-nodejs/issues/1208.
    """
    headers = response.headers
    is_of_the_function = CHUNK_COUNT_HEADER in headers or ERROR_HEADER in headers
    is_of_a_token = headers.get("WWW-Authenticate", "").startswith("Bearer")
    return response.status_code == UNAUTHORIZED and is_of_a_token and not is_of_the_function
