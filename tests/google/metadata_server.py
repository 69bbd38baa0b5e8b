"""A stand-in of the metadata server of a machine with at most one attached service account.

Source: https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys.
"""

import flask

from tests.google.accounts import Accounts, service_account_member
from tests.google.stand_ins import Answer, counting_app

_ACCOUNTS_PATH = "/computeMetadata/v1/instance/service-accounts/<name>/"


def metadata_server(accounts: Accounts) -> flask.Flask:
    """`http://metadata.google.internal`, which answers whoever says that it knows whom it asks."""
    app = counting_app("metadata", accounts)

    @app.before_request
    def require_flavor() -> Answer | None:
        if flask.request.headers.get("Metadata-Flavor") == "Google":
            return None
        return flask.Response("Missing Metadata-Flavor:Google header.", 403)

    @app.after_request
    def add_flavor(response: flask.Response) -> flask.Response:
        response.headers["Metadata-Flavor"] = "Google"
        return response

    for path, text in {"/": "computeMetadata/\n", "/computeMetadata/v1/project/project-id": "local-project"}.items():
        app.add_url_rule(path, endpoint=path, view_func=lambda text=text: _text(text))
    for what in ("", "email", "identity", "token"):
        app.add_url_rule(
            _ACCOUNTS_PATH + what,
            endpoint=f"service account {what}",
            view_func=lambda name, what=what: _answer(accounts, name, what),
        )
    return app


def _answer(accounts: Accounts, name: str, what: str) -> Answer:
    email = accounts.attached
    if email is None or name not in ("default", email):
        return flask.Response("<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", 404)
    if what == "identity":
        return _text(accounts.new_id_token(email, flask.request.args["audience"]))
    if what == "token":
        token = accounts.new_access_token(service_account_member(email))
        return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
    return _text(email) if what else {"aliases": ["default"], "email": email, "scopes": []}


def _text(text: str) -> flask.Response:
    return flask.Response(text, content_type="application/text")
