"""Makes a request of what came over the wire."""

import json
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs, unquote, unquote_plus

from tests.faults.plan import Headers, Request

_OBJECT_PATH: Final = re.compile(r"(?:/upload|/download)?(?:/storage/v1)?/b/([^/]+)/o(?:/(.+))?")


def parse_request(method: str, target: str, headers: Headers, body: bytes) -> Request:
    """Make a request of what came over the wire, and find out which object it names."""
    path, _, query = target.partition("?")
    request = Request(method, target, unquote(path), unquote_plus(query), headers, body)
    storage_path = _OBJECT_PATH.fullmatch(path)
    if storage_path is None:
        return request
    bucket, name = storage_path.groups()
    parameters = parse_qs(query)
    is_upload = path.startswith("/upload/")
    if name is None and is_upload:
        name = parameters["name"][0] if "name" in parameters else _name_in_metadata(request)
    elif name is not None:
        name = unquote(name)
    create_only = is_upload and name is not None and parameters.get("ifGenerationMatch") == ["0"]
    return replace(request, bucket=unquote(bucket), object_name=name, create_only=create_only)


def _name_in_metadata(request: Request) -> str | None:
    """Return the object's name from the body of a multipart upload, or of the start of a resumable one."""
    start, end = 0, len(request.body)
    if "uploadType=multipart" in request.query:  # the first part is the metadata
        start = request.body.find(b"\r\n\r\n") + 4
        end = request.body.find(b"\r\n--", start)
    with suppress(ValueError):  # what is not JSON names no object
        metadata: Any = json.loads(request.body[start:end])
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else None
    return None
