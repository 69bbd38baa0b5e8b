"""Cloud Storage in memory: the part of its JSON API that this package uses, with preconditions.

A real `google.cloud.storage.Client` makes the requests, so all code that uses it runs as it does in the cloud. A
request that is not implemented gets a 501.

Sources: https://cloud.google.com/storage/docs/json_api/v1/objects, https://cloud.google.com/storage/docs/batch,
https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

import base64
import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import requests

from dagster_gcf_pipes._responses import make_response
from dagster_gcf_pipes.testing._batches import BATCH_PATH, join_responses, split_batch
from dagster_gcf_pipes.testing._responses import in_process_session, read_body

if TYPE_CHECKING:
    from google.cloud import storage

HOST: Final = "https://storage.invalid"
"""It does not exist, and no connection to it is ever made."""
_PATH: Final = re.compile(r"/(?P<service>upload|download|)/?storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<name>.+))?")


class _RefusedError(Exception):
    """The request gets a response that is not 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class _Object:
    """A stored object."""

    name: str
    data: bytes
    generation: int

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data, usedforsecurity=False).digest()).decode()

    @property
    def crc32c(self) -> str:
        import google_crc32c

        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()

    @property
    def metadata(self) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "name": self.name,
            "generation": str(self.generation),
            "size": str(len(self.data)),
            "md5Hash": self.md5,
            "crc32c": self.crc32c,
        }


@dataclass(frozen=True)
class _Request:
    """What a request to the JSON API asks for. The name is empty if it names no object."""

    method: str
    service: str
    bucket: str
    name: str
    query: dict[str, str]

    @classmethod
    def parse(cls, http: requests.PreparedRequest) -> "_Request":
        url = urlsplit(http.url or "")
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        match = _PATH.fullmatch(url.path)
        parts = {part: unquote(text or "") for part, text in match.groupdict().items()} if match else {}
        request = cls(
            http.method or "", parts.get("service", ""), parts.get("bucket", ""), parts.get("name", ""), query
        )
        if not match:
            raise request.unsupported(url.path)
        return request

    def unsupported(self, path: str) -> _RefusedError:
        return _RefusedError(501, f"Cloud Storage in memory does not implement {self.method} {path}.")


class MemoryStorage:
    """Buckets in memory. Each bucket that a request names exists. Thread-safe."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], _Object] = {}
        self._uploads: dict[str, tuple[_Request, str]] = {}  # resumable ones that have begun, with the object's name
        self._generation = 0
        self._lock = Lock()

    def client(self) -> "storage.Client":
        """Return a new client of this storage. It needs no credentials and no network."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project="local",
            credentials=AnonymousCredentials(),
            _http=in_process_session(self._answer),
            client_options={"api_endpoint": HOST},
        )

    def _answer(self, http: requests.PreparedRequest) -> requests.Response:
        body = read_body(http)
        if urlsplit(http.url or "").path == BATCH_PATH:
            headers, responses = join_responses(map(self._answer, split_batch(http.headers["Content-Type"], body)))
            return make_response(http, 200, responses, headers)
        try:
            with self._lock:
                return self._serve(_Request.parse(http), http, body)
        except _RefusedError as error:
            return _json_response(http, {"error": {"code": error.status, "message": str(error)}}, error.status)

    def _serve(self, request: _Request, http: requests.PreparedRequest, body: bytes) -> requests.Response:
        match request.method, request.service, bool(request.name):
            case "POST" | "PUT", "upload", False:
                return self._upload(request, http, body)
            case "GET", "download", True:
                return _content_response(http, self._find(request))
            case "GET", "", True:
                return _json_response(http, self._find(request).metadata)
            case "GET", "", False:
                return _json_response(http, {"kind": "storage#objects", "items": self._list(request)})
            case "DELETE", "", True:
                del self._objects[request.bucket, self._find(request).name]
                return make_response(http, 204)
        raise _unsupported(http)

    def _upload(self, request: _Request, http: requests.PreparedRequest, body: bytes) -> requests.Response:
        if request.method == "PUT":  # of the whole content: a client sends up to 100 MiB at once
            return _json_response(http, self._create(*self._uploads.pop(request.query["upload_id"]), body))
        if request.query.get("uploadType") == "resumable":
            return make_response(http, 200, headers={"Location": self._begin_upload(request, body)})
        metadata, data = _multipart(body)
        return _json_response(http, self._create(request, json.loads(metadata)["name"], data))

    def _begin_upload(self, request: _Request, body: bytes) -> str:
        upload_id = uuid.uuid4().hex
        self._uploads[upload_id] = (request, request.query.get("name") or json.loads(body)["name"])
        return f"{HOST}/upload/storage/v1/b/{request.bucket}/o?uploadType=resumable&upload_id={upload_id}"

    def _create(self, request: _Request, name: str, data: bytes) -> dict[str, Any]:
        existing = self._objects.get((request.bucket, name))
        expected = request.query.get("ifGenerationMatch")
        if expected is not None and int(expected) != (existing.generation if existing else 0):
            raise _RefusedError(412, "At least one of the pre-conditions you specified did not hold.")
        self._generation += 1
        self._objects[request.bucket, name] = created = _Object(name, data, self._generation)
        return created.metadata

    def _find(self, request: _Request) -> _Object:
        found = self._objects.get((request.bucket, request.name))
        if not found:
            raise _RefusedError(404, f"No such object: {request.bucket}/{request.name}")
        return found

    def _list(self, request: _Request) -> list[dict[str, Any]]:
        """Return all names at once, however many the request asks for."""
        prefix, first = request.query.get("prefix", ""), request.query.get("startOffset", "")
        stored = sorted((name, each) for (bucket, name), each in self._objects.items() if bucket == request.bucket)
        return [each.metadata for name, each in stored if name.startswith(prefix) and name >= first]


def _unsupported(http: requests.PreparedRequest) -> _RefusedError:
    path = urlsplit(http.url or "").path
    return _RefusedError(501, f"Cloud Storage in memory does not implement {http.method} {path}.")


def _multipart(body: bytes) -> tuple[bytes, bytes]:
    """Return the metadata and the content of an upload."""
    delimiter = body.partition(b"\r\n")[0]
    parts = body.split(delimiter)[1:-1]
    metadata, content = (part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts)
    return metadata, content


def _content_response(http: requests.PreparedRequest, stored: _Object) -> requests.Response:
    hashes = f"crc32c={stored.crc32c},md5={stored.md5}"
    return make_response(http, 200, stored.data, {"X-Goog-Generation": str(stored.generation), "X-Goog-Hash": hashes})


def _json_response(http: requests.PreparedRequest, value: dict[str, Any], status: int = 200) -> requests.Response:
    return make_response(http, status, json.dumps(value).encode(), {"Content-Type": "application/json"})
