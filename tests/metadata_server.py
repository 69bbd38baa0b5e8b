"""A stand-in of Google Cloud's metadata server.

Source: https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import flask

from tests.serving import serving

Value: TypeAlias = str | dict[str, Any]


def metadata_server(find: Callable[[str], Value | None]) -> flask.Flask:
    """Serve values by their paths below `/computeMetadata/v1/`; `find` returns None for an unknown path.

    Like the real one, it requires `Metadata-Flavor: Google`.
    """
    app = flask.Flask("metadata")

    @app.before_request
    def require_flavor() -> tuple[str, int] | None:
        has_flavor = flask.request.headers.get("Metadata-Flavor") == "Google"
        return None if has_flavor else ("Missing Metadata-Flavor:Google header.", 403)

    @app.after_request
    def add_flavor(response: flask.Response) -> flask.Response:
        response.headers["Metadata-Flavor"] = "Google"
        return response

    @app.get("/")
    def ping() -> str:
        return "computeMetadata/\n"

    @app.get("/computeMetadata/v1/<path:path>")
    def get(path: str) -> flask.Response:
        value = find(path)
        if value is None:
            return flask.Response("<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", 404)
        return (
            flask.Response(value, content_type="application/text") if isinstance(value, str) else flask.jsonify(value)
        )

    return app


@contextmanager
def run_metadata_server(values: Mapping[str, str]) -> Iterator[str]:
    """Serve fixed values while the block runs; yield the host and port."""
    with serving(metadata_server(values.get)) as port:
        yield f"127.0.0.1:{port}"
