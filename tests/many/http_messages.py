"""Requests and responses of the simulated platform, without the server that reads and writes them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl


class Headers(dict[str, str]):
    """Headers by their names in lower case, which are found in any case."""

    def get(self, name: str, default: Any = None, /) -> Any:
        return super().get(name.lower(), default)


@dataclass(frozen=True)
class Request:
    """A request. Its path is as it was sent: percent-encoded."""

    method: str
    path: str
    query_string: str = ""
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    @cached_property
    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(self.query_string, keep_blank_values=True))


@dataclass(frozen=True)
class Response:
    """A response, whose body is complete. It also has what the entry point reads of Flask's responses."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status_code(self) -> int:
        return self.status

    @property
    def content_type(self) -> str | None:
        return self.headers.get("Content-Type")

    def get_data(self) -> bytes:
        return self.body


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with compact JSON, as Flask writes it."""
    body = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    return Response(status, body, {"Content-Type": "application/json", **(headers or {})})
