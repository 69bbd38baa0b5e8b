"""Removes requests from responses and errors, because their headers hold tokens."""

from collections.abc import Iterator
from copy import copy

import requests
from requests.structures import CaseInsensitiveDict

from dagster_gcf_pipes._functions import redacted


def detached(response: requests.Response) -> requests.Response:
    """Return a copy of a response that can be pickled and holds only what the server sent.

    Its `request` has only the method and the URL. All URLs are without user, password and query. The content has been
    read, and there is no `history`, `connection` or `raw`.
    """
    independent = copy(response)  # like pickling, this reads the content and drops the connection
    independent.url = redacted(response.url)
    independent.history = []
    independent.request = requests.PreparedRequest()
    independent.request.method = response.request.method
    independent.request.url = redacted(response.request.url or "")
    independent.request.headers = CaseInsensitiveDict()
    return independent


def detach_requests(error: BaseException) -> None:
    """Remove requests and responses from an error and all errors chained to it.

    google-auth also puts whole answers, including tokens, into the arguments of its errors. Only texts stay there.
    """
    for each in _chain(error):
        for name, value in vars(each).items():
            if isinstance(value, requests.PreparedRequest | requests.Response):
                setattr(each, name, None)
        if type(each).__module__.startswith("google.auth."):
            each.args = tuple(argument for argument in each.args if isinstance(argument, str | Exception))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error, and all errors in its chain and arguments, each once."""
    found: dict[int, BaseException] = {}
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and id(each) not in found:
            found[id(each)] = each
            waiting += [each.__cause__, each.__context__, *each.args]
    return iter(found.values())
