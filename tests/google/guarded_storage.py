"""A stand-in of `storage.googleapis.com`: an emulator that requires an access token, and knows permissions."""

from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import flask
import requests

from dagster_gcf_pipes._responses import make_response
from dagster_gcf_pipes.testing._batches import BATCH_PATH, join_responses, split_batch
from tests.faults.plan import STORAGE_PRECONDITION_FAILED, Status, storage_forbidden
from tests.google.accounts import Accounts

_METHODS = ["DELETE", "GET", "PATCH", "POST", "PUT"]
_HOP_BY_HOP = frozenset({"connection", "content-encoding", "content-length", "host", "transfer-encoding"})


@dataclass
class GuardedStorage:
    """Cloud Storage for callers with an access token.

    Like the real one, it checks a permission before a precondition or an object.

    Attributes:
        accounts: Google's state.
        emulator_url: Where the objects are.
        callers: The callers, as IAM members.
        missing: The permissions that the callers lack.
        lifecycle_rules: The rules of every bucket.
        asked: The permission that each request needed.
    """

    accounts: Accounts
    emulator_url: str
    callers: set[str | None] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    lifecycle_rules: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def app(self) -> flask.Flask:
        app = flask.Flask("storage")

        @app.route("/<path:path>", methods=_METHODS)
        def forward(path: str) -> flask.Response:
            caller = self.accounts.member_of(flask.request.headers.get("Authorization"))
            self.callers.add(caller)
            return self._respond(path) if caller else flask.Response("Invalid Credentials", 401)

        @app.after_request
        def tell_the_time(response: flask.Response) -> flask.Response:
            response.headers["Date"] = formatdate(self.accounts.now(), usegmt=True)
            return response

        return app

    def _respond(self, path: str) -> flask.Response:
        if f"/{path}" == BATCH_PATH:
            return self._respond_to_batch()
        permission = _permission(flask.request.method, path)
        self.asked.append(permission)
        if permission in self.missing:
            return _response(storage_forbidden(permission))
        if flask.request.args.get("ifGenerationMatch", "0") != "0":  # of an object that exists nowhere
            return _response(STORAGE_PRECONDITION_FAILED)
        response = self._forward()
        if permission == "storage.buckets.get" and response.status_code == 200:
            response.data = flask.json.dumps({**response.get_json(), "lifecycle": {"rule": self.lifecycle_rules}})
        return response

    def _respond_to_batch(self) -> flask.Response:
        """Check the permission of each request. The response to the batch itself is 200."""
        requested = split_batch(flask.request.headers["Content-Type"], flask.request.get_data())
        permissions = [_permission(str(request.method), str(request.url)) for request in requested]
        self.asked += permissions
        if self.missing.isdisjoint(permissions):
            return self._forward()
        refused = [
            make_response(request, status.code, status.body)
            for request, status in zip(requested, map(storage_forbidden, permissions), strict=True)
        ]
        headers, body = join_responses(refused)
        return flask.Response(body, 200, dict(headers))

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


def _permission(method: str, path: str) -> str:
    """Return the permission that a request needs. Source: https://cloud.google.com/storage/docs/access-control/iam-json."""
    if method == "DELETE":
        return "storage.objects.delete"
    if method != "GET":
        return "storage.objects.create"
    if "/o/" in path:
        return "storage.objects.get"
    return "storage.objects.list" if path.endswith("/o") else "storage.buckets.get"


def _response(status: Status) -> flask.Response:
    return flask.Response(status.body, status.code, dict(status.headers))
