"""All functions of the snippets, in one server: the path names the entry point."""

from typing import Any

import flask

from examples.features.functions import main as functions


def main(request: flask.Request) -> Any:
    return getattr(functions, request.path.strip("/"))(request)
