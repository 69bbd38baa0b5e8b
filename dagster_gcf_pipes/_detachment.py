"""Keeps requests, with the tokens in their headers, out of what outlives a call: its response, and its errors."""

from collections.abc import Iterator
from copy import copy

import requests
from requests.structures import CaseInsensitiveDict

from dagster_gcf_pipes._functions import redacted


def detached(response: requests.Response) -> requests.Response:
    """Return a copy of a response that holds what the server sent, and can be pickled.

    Its `request` has the method and the URL alone. Both have the URL without user, password and query. It has no
    `history`, no `connection` and no `raw`: its content has been read.
    """
    independent = copy(response)  # as pickling does it: the content is read, and connections are left behind
    independent.url = redacted(response.url)
    independent.history = []
    independent.request = requests.PreparedRequest()
    independent.request.method = response.request.method
    independent.request.url = redacted(response.request.url or "")
    independent.request.headers = CaseInsensitiveDict()
    return independent


def detach_requests(error: BaseException) -> None:
    """Take requests, and responses that lead to one, out of an error and those that are chained to it.

    google-auth puts whole answers into the arguments of its errors, tokens and all: of these the texts stay.
    """
    for each in _chain(error):
        for name, value in vars(each).items():
            if isinstance(value, requests.PreparedRequest | requests.Response):
                setattr(each, name, None)
        if type(each).__module__.startswith("google.auth."):
            each.args = tuple(argument for argument in each.args if isinstance(argument, str | Exception))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error, its causes and contexts, and the errors in their arguments, each once."""
    found: dict[int, BaseException] = {}
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and id(each) not in found:
            found[id(each)] = each
            waiting += [each.__cause__, each.__context__, *each.args]
    return iter(found.values())
