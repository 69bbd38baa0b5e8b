"""Reads small objects at little cost.

Dagster reads thousands of small objects of many calls. google-cloud-storage needs several times as much CPU for each as
the request itself. So the request goes straight to the client's transport. All that is not the whole object is left to
the library: it refreshes a token, follows the service's rules, and raises the error.
"""

import base64
import re
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import google_crc32c  # noqa: TID253 - this module is imported late
import requests  # noqa: TID253
from google.auth.transport.requests import Request  # noqa: TID253
from requests.structures import CaseInsensitiveDict  # noqa: TID253

if TYPE_CHECKING:
    from google.cloud import storage

OK: Final = 200
NOT_FOUND: Final = 404
_CRC32C: Final = re.compile(r"crc32c=([^,\s]+)")


class Downloads:
    """Reads objects of a bucket with the transport and the credentials of a client.

    Args:
        client: The client.
        bucket: The name of the bucket.
    """

    def __init__(self, client: "storage.Client", bucket: str) -> None:
        self._http = client._http  # noqa: SLF001
        self._objects = f"{client.api_endpoint}/download/storage/v1/b/{bucket}/o"
        template = self._http.prepare_request(requests.Request("GET", self._objects))
        self._headers, self._hooks = template.headers, template.hooks
        self._options = self._http.merge_environment_settings(self._objects, {}, True, None, None)
        self._credentials = getattr(self._http, "credentials", None)
        self._refresh = Request()

    def read(self, key: str, *, max_bytes: int, timeout: float) -> tuple[int, bytes | None]:
        """Return the status of a GET, and the object, if all of it has arrived.

        Source: https://cloud.google.com/storage/docs/json_api/v1/objects/get (`alt=media`).

        Raises:
            requests.RequestException: There was no response.
            urllib3.exceptions.HTTPError: The connection broke.
            google.auth.exceptions.GoogleAuthError: There is no token.
        """
        request = requests.PreparedRequest()
        request.method, request.url = "GET", f"{self._objects}/{quote(key, safe='~')}?alt=media"
        request.headers, request.hooks = CaseInsensitiveDict(self._headers), self._hooks
        if self._credentials:
            self._credentials.before_request(self._refresh, request.method, request.url, request.headers)
        adapter = self._http.get_adapter(request.url)
        with closing(adapter.send(request, timeout=timeout, **self._options)) as response:
            if response.status_code != OK:
                return response.status_code, None
            data: bytes = response.raw.read(max_bytes + 1)
            return OK, data if len(data) <= max_bytes and _is_whole(data, response.headers) else None


def _is_whole(data: bytes, headers: Mapping[str, str]) -> bool:
    """Whether these are the bytes that are stored.

    Source: https://cloud.google.com/storage/docs/xml-api/reference-headers (`x-goog-hash`).
    """
    expected = _CRC32C.search(headers.get("x-goog-hash", ""))
    crc32c = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    return "Content-Encoding" not in headers and (expected is None or expected[1] == crc32c)
