"""A stand-in of the platform in front of a private function: it checks the ID token and the invoker role.

It also responds for a function that is not reachable, too slow, or dead.

Source of the responses: https://github.com/google/adk-python/issues/3814 (the body of a 401),
https://github.com/datacommonsorg/docsite/pull/463 (the text of a 403),
https://github.com/googleapis/google-auth-library-nodejs/issues/1208 (why a token was refused), and
https://cloud.google.com/run/docs/troubleshooting (404 by ingress settings, 503, 504). "Error: Page not found" is what
a service shows to a network that its ingress setting does not admit, and what a host shows that has no service.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import flask
import requests
from gcf_pipes._shared.protocol import STORAGE_HEADER

from tests.faults.plan import INSTANCE_DIED, PLATFORM_TIMEOUT, Status
from tests.google import keys
from tests.google.accounts import GOOGLE, ISSUER, Accounts

SIGNATURE_REMOVED: Final = "SIGNATURE_REMOVED_BY_GOOGLE"
_HOP_BY_HOP: Final = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
_NOT_FORWARDED: Final = _HOP_BY_HOP | {STORAGE_HEADER.lower()}
"""The function behind it uses an emulator, in place of the Cloud Storage that Dagster sees."""
_PAGE: Final = """<html><head>
<meta http-equiv="content-type" content="text/html;charset=utf-8">
<title>{title}</title>
</head>
<body text=#000000 bgcolor=#ffffff>
<h1>Error: {error}</h1>
<h2>{text}</h2>
<h2></h2>
</body></html>
"""


@dataclass
class PrivateFunction:
    """A function that the platform guards.

    Attributes:
        accounts: What Google knows.
        audiences: The audiences that it accepts.
        invokers: The accounts with `roles/run.invoker`, and `allUsers` for everybody.
        backend: The URL of the function itself; without one, it returns the caller.
        ingress: Whether its ingress setting admits the network of the callers.
        timeout: Seconds after which the platform responds for it.
        clock_offset: Seconds by which the platform's clock is ahead of the issuer's.
        refused: Revoked tokens.
        statuses: The statuses of the next responses, before any check.
        when_called: Called at each call.
        redirect_to: Where it redirects each call, or None.
        authorizations: The Authorization header of each call, or None.
        asked: The method and path of each call.
    """

    accounts: Accounts
    audiences: set[str]
    invokers: set[str] = field(default_factory=set)
    backend: str | None = None
    ingress: bool = True
    timeout: float = 60
    clock_offset: float = 0
    refused: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    when_called: Callable[[], object] = lambda: None
    redirect_to: str | None = None
    authorizations: list[str | None] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def app(self) -> flask.Flask:
        app = flask.Flask("function")

        @app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
        @app.route("/<path:path>", methods=["GET", "POST"])
        def call(path: str) -> flask.Response:
            authorization = flask.request.headers.get("Authorization")
            self.asked.append((flask.request.method, flask.request.path))
            self.authorizations.append(authorization)
            self.when_called()
            if self.statuses:
                return flask.Response(
                    "The request was aborted because there was no available instance.", self.statuses.pop(0)
                )
            if self.redirect_to:
                return flask.Response(status=302, headers={"Location": self.redirect_to})
            if not self.ingress:
                return not_found()
            return self._refusal(authorization) or self._run(authorization)

        return app

    def _refusal(self, authorization: str | None) -> flask.Response | None:
        if authorization is None:
            return None if "allUsers" in self.invokers else _forbidden()
        claims = self._claims(authorization.removeprefix("Bearer "))
        if claims is None:
            return _unauthorized()
        return None if claims.get("email") in self.invokers or "allUsers" in self.invokers else _forbidden()

    def _claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a valid token."""
        try:
            claims = keys.read(GOOGLE, token)
        except ValueError:
            return None
        now = self.accounts.now() + self.clock_offset
        holds = (
            claims["iss"] == ISSUER and claims["aud"] in self.audiences and claims["iat"] - 60 <= now < claims["exp"]
        )
        return claims if holds and token not in self.refused else None

    def _run(self, authorization: str | None) -> flask.Response:
        if self.backend is None:
            claims = keys.read_unverified(authorization.removeprefix("Bearer ")) if authorization else {}
            return flask.jsonify({"email": claims.get("email"), "aud": claims.get("aud")})
        headers = {name: value for name, value in flask.request.headers.items() if name.lower() not in _NOT_FORWARDED}
        if authorization:
            headers["Authorization"] = f"{authorization.rpartition('.')[0]}.{SIGNATURE_REMOVED}"
        try:
            answer = requests.request(
                flask.request.method,
                f"{self.backend}{flask.request.path.removesuffix('/')}",
                data=flask.request.get_data(),
                headers=headers,
                timeout=self.timeout,
            )
        except requests.Timeout:
            return _platform_answer(PLATFORM_TIMEOUT)
        except requests.ConnectionError:
            return _platform_answer(INSTANCE_DIED)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return flask.Response(answer.content, answer.status_code, kept)


def not_found() -> flask.Response:
    """Return the response of a host without a function for the caller's network."""
    text = "The requested URL was not found on this server."
    return flask.Response(_PAGE.format(title="404 Page not found", error="Page not found", text=text), 404)


def _platform_answer(answer: Status) -> flask.Response:
    return flask.Response(answer.body, answer.code, dict(answer.headers))


def _unauthorized() -> flask.Response:
    text = f"Your client does not have permission to the requested URL <code>{flask.request.path}</code>."
    response = flask.Response(_PAGE.format(title="401 Unauthorized", error="Unauthorized", text=text), 401)
    response.headers["WWW-Authenticate"] = (
        'Bearer error="invalid_token" error_description="The access token could not be verified"'
    )
    return response


def _forbidden() -> flask.Response:
    text = f"Your client does not have permission to get URL <code>{flask.request.path}</code> from this server."
    return flask.Response(_PAGE.format(title="403 Forbidden", error="Forbidden", text=text), 403)
