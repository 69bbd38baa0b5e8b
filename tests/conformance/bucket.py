"""The objects of a bucket, by plain HTTP: what a function in a language without a library would write."""

import os
from urllib.parse import quote

import requests

TIMEOUT = 30
CONFLICT = 412
NOT_FOUND = 404


class ExistsError(Exception):
    """The object exists, with other content."""


def create(bucket: str, name: str, data: bytes, *, once: bool = True) -> None:
    """Create an object, and recognise one's own after a lost acknowledgement. Without `once`, replace it."""
    params = {"uploadType": "media", "name": name} | ({"ifGenerationMatch": "0"} if once else {})
    url = f"{_host()}/upload/storage/v1/b/{bucket}/o"
    response = requests.post(url, params=params, data=data, timeout=TIMEOUT)
    if response.status_code == CONFLICT:
        if read(bucket, name) != data:
            raise ExistsError(name)
        return
    response.raise_for_status()


def read(bucket: str, name: str) -> bytes | None:
    """Return an object's content, or None if there is none."""
    url = f"{_host()}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    response = requests.get(url, params={"alt": "media"}, timeout=TIMEOUT)
    if response.status_code == NOT_FOUND:
        return None
    response.raise_for_status()
    return response.content


def _host() -> str:
    return os.environ["STORAGE_EMULATOR_HOST"]
