"""A stand-in of `storage.googleapis.com`: an emulator that requires an access token."""

from dataclasses import dataclass, field

import flask
import requests

from tests.google.accounts import Accounts

_METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"]
_HOP_BY_HOP = frozenset({"connection", "content-encoding", "content-length", "host", "transfer-encoding"})


@dataclass
class GuardedStorage:
    """Cloud Storage for callers with an access token.

    Attributes:
        accounts: Google's state.
        emulator_url: Where the objects are.
        callers: The callers, as IAM members.
    """

    accounts: Accounts
    emulator_url: str
    callers: set[str | None] = field(default_factory=set)

    def app(self) -> flask.Flask:
        app = flask.Flask("storage")

        @app.route("/<path:path>", methods=_METHODS)
        def forward(path: str) -> flask.Response:
            caller = self.accounts.member_of(flask.request.headers.get("Authorization"))
            self.callers.add(caller)
            return self._forward() if caller else flask.Response("Invalid Credentials", 401)

        return app

    def _forward(self) -> flask.Response:
        request = flask.request
        answer = requests.request(
            request.method,
            self.emulator_url + request.full_path,
            data=request.get_data(),
            headers={name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP},
            timeout=30,
        )
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return flask.Response(answer.content, answer.status_code, kept)
