"""Makes the requests of which there are thousands, at little cost.

For each small object that it reads or lists, google-cloud-storage needs several times the CPU of the request itself. So
these requests go straight to the client's transport. Whatever is not the expected answer is left to the library: it
refreshes tokens, and raises the error.
"""

import base64
import json
import re
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import google_crc32c
import requests
from google.auth.transport.requests import Request  # noqa: TID253
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from gcf_pipes._shared.pages import MAX_PAGE, Page

if TYPE_CHECKING:
    from google.cloud import storage

_MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
"""A name has at most 1,024 bytes of UTF-8. Source: https://cloud.google.com/storage/docs/objects#naming."""
_OK: Final = 200
_CRC32C: Final = re.compile(r"crc32c=([^,\s]+)")


class JsonApi:
    """The objects of a bucket, by requests with the transport and the credentials of a client.

    Each method may raise an error of `requests`, urllib3 or google-auth.

    Args:
        client: The client.
        bucket: The name of the bucket.
    """

    def __init__(self, client: "storage.Client", bucket: str) -> None:
        self._http = client._http  # noqa: SLF001
        self._host = str(client.api_endpoint)
        self._base = urlsplit(self._host).path
        self._path = f"/storage/v1/b/{bucket}/o"
        self._template = self._http.prepare_request(requests.Request("GET", self._host))
        options = self._http.merge_environment_settings(self._host, {}, True, None, None)
        self._tls = {name: options[name] for name in ("verify", "cert", "proxies")}
        self._has_proxy = bool(select_proxy(self._host, options["proxies"]))
        self._refresh = Request()

    def read(self, key: str, *, max_bytes: int, timeout: float) -> tuple[int | None, bytes | None]:
        """Return the status of a GET, and the object if all of it has arrived.

        Source: https://cloud.google.com/storage/docs/json_api/v1/objects/get (`alt=media`).
        """
        return self._get(f"{self._base}/download{self._path}/{quote(key, safe='~')}?alt=media", max_bytes, timeout)

    def list_page(self, prefix: str, *, start: str, timeout: float) -> Page | None:
        """Return the first objects that start with a prefix, from a name on, or None if that is not the answer.

        Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list.
        """
        fields = "items(name),nextPageToken"
        query = {"prefix": prefix, "startOffset": start, "maxResults": MAX_PAGE, "fields": fields}
        _, data = self._get(f"{self._base}{self._path}?{urlencode(query)}", _MAX_PAGE_BYTES, timeout)
        if data is None:
            return None
        page = json.loads(data)
        return Page([item["name"] for item in page.get("items", ())], is_last="nextPageToken" not in page)

    def _get(self, target: str, max_bytes: int, timeout: float) -> tuple[int | None, bytes | None]:
        adapter = self._http.get_adapter(self._host)
        if not isinstance(adapter, HTTPAdapter) or self._has_proxy:
            return None, None
        pool: Any = adapter.get_connection_with_tls_context(self._template, **self._tls)
        headers = dict(self._template.headers)
        if credentials := getattr(self._http, "credentials", None):
            credentials.before_request(self._refresh, "GET", self._host, headers)
        response = pool.urlopen(
            "GET",
            target,
            headers=headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=False,
            enforce_content_length=True,  # the default since urllib3 2.0
        )
        with closing(response):
            if response.status != _OK:
                response.drain_conn()
                return response.status, None
            data: bytes = response.read(max_bytes + 1, decode_content=True)
            return _OK, data if len(data) <= max_bytes and _is_intact(data, response.headers) else None


def _is_intact(data: bytes, headers: Mapping[str, str]) -> bool:
    """Whether these are the bytes that are stored.

    Source: https://cloud.google.com/storage/docs/xml-api/reference-headers (`x-goog-hash`).
    """
    expected = _CRC32C.search(headers.get("x-goog-hash", ""))
    crc32c = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    return expected is None or expected[1] == crc32c
