"""Responses of `requests` that no server has sent."""

import io
from collections.abc import Mapping
from http import HTTPStatus

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse


def make_response(
    request: requests.PreparedRequest, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> requests.Response:
    """Return a response as the network would deliver it."""
    raw = HTTPResponse(
        io.BytesIO(body),
        headers={**(headers or {}), "Content-Length": str(len(body))},
        status=status,
        reason=HTTPStatus(status).phrase if status in set(HTTPStatus) else None,
        preload_content=False,
    )
    return HTTPAdapter().build_response(request, raw)
