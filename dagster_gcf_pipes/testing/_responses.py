"""Requests and responses of `requests` without a network."""

from collections.abc import Callable
from typing import Any, TypeAlias

import requests
from requests.adapters import BaseAdapter

Answer: TypeAlias = Callable[[requests.PreparedRequest], requests.Response]


class InProcessAdapter(BaseAdapter):
    """Lets a function answer the requests of a `requests.Session`.

    Args:
        answer: Returns the response to a request, or raises an error of `requests`.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Return the response. There is no connection, so no option of one matters."""
        return self._answer(request)

    def close(self) -> None:
        """Do nothing: nothing is open."""


def in_process_session(answer: Answer) -> requests.Session:
    """Return a session that reaches nothing but `answer`, whatever the URL and the environment."""
    session = requests.Session()
    session.trust_env = False  # neither a proxy nor a .netrc
    for scheme in ("https://", "http://"):
        session.mount(scheme, InProcessAdapter(answer))
    return session


def read_body(request: requests.PreparedRequest) -> bytes:
    """Return the body of a request, as its sending would read it."""
    body = request.body or b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else bytes(body.read())
