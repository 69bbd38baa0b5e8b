"""Makes a copy of a response without its request, whose headers hold tokens."""

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
