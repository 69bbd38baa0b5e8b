"""Reads facts about this instance from Google Cloud's metadata server."""

import os
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Final

HOST_VARIABLE: Final = "GCE_METADATA_HOST"
"""Names another server, as for google-auth."""

DEFAULT_HOST: Final = "169.254.169.254"
"""The server's address. No timeout would bound a look-up of its name."""

TIMEOUT: Final = 1.0
"""Seconds to wait for the connection and for each response. The server is on the same machine."""


def read_metadata(paths: Sequence[str]) -> list[str | None]:
    """Read values over one connection, past any proxy. None for a value that the server does not return.

    Args:
        paths: Paths below `/computeMetadata/v1/`.

    Source: https://cloud.google.com/run/docs/container-contract#metadata-server
    """
    try:
        with closing(HTTPConnection(os.environ.get(HOST_VARIABLE) or DEFAULT_HOST, timeout=TIMEOUT)) as connection:
            return [_read(connection, path) for path in paths]
    except (OSError, HTTPException):
        return [None] * len(paths)


def _read(connection: HTTPConnection, path: str) -> str | None:
    connection.request("GET", f"/computeMetadata/v1/{path}", headers={"Metadata-Flavor": "Google"})
    response = connection.getresponse()
    body = response.read().decode("utf-8", errors="replace").strip()
    return body if response.status == 200 and body else None  # noqa: PLR2004 - OK
