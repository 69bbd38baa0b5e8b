"""The JSON API of Cloud Storage, in memory, as far as google-cloud-storage's client and our `ObjectStore` use it.

Sources: https://cloud.google.com/storage/docs/json_api/v1/objects, https://cloud.google.com/storage/docs/batch.
"""

import base64
import hashlib
import json
import re
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from email.parser import BytesParser
from functools import cache, cached_property, partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import google_crc32c

from tests.many.figures import Kind
from tests.many.http_messages import Request, Response

MAX_RESULTS: Final = 1000
"""The most objects and prefixes in a page, and the default."""
MAX_BATCH: Final = 100
BATCH_PATH: Final = "/batch/storage/v1"
_PATH: Final = re.compile(r"/(?:(upload|download)/)?storage/v1/b(?:/([^/]+)(?:/(o)(?:/(.+))?)?)?")
Query = Mapping[str, str]
_JSON: Final = {"Content-Type": "application/json; charset=UTF-8"}


class StorageApiError(Exception):
    """An error that the API returns."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def response(self) -> Response:
        entry = {"message": str(self), "domain": "global", "reason": self.reason}
        return _json({"error": {"code": self.status, "message": str(self), "errors": [entry]}}, self.status)


@dataclass(frozen=True)
class StoredObject:
    """An object."""

    api_url: str
    bucket: str
    name: str
    data: bytes
    content_type: str
    generation: int

    @cached_property
    def resource_json(self) -> str:
        """All fields of the resource."""
        return self.select(_FIELDS)

    def select(self, fields: Collection[str]) -> str:
        """Return some fields of the resource, as JSON."""
        return json.dumps({name: value(self) for name, value in _FIELDS.items() if name in fields})

    @cached_property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data, usedforsecurity=False).digest()).decode()

    @cached_property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()

    @property
    def etag(self) -> str:
        return base64.b64encode(str(self.generation).encode()).decode()

    @cached_property
    def created(self) -> str:
        return datetime.fromtimestamp(self.generation / 1e6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    @cached_property
    def path(self) -> str:
        return f"storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"

    @property
    def media_link(self) -> str:
        """The URL with which the client reads an object that it has looked up."""
        return f"{self.api_url}/download/{self.path}?generation={self.generation}&alt=media"

    @property
    def media(self) -> Response:
        headers = {
            "Content-Type": self.content_type,
            "ETag": self.etag,
            "X-Goog-Generation": str(self.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Hash": f"crc32c={self.crc32c},md5={self.md5}",
            "X-Goog-Storage-Class": "STANDARD",
            "X-Goog-Stored-Content-Encoding": "identity",
            "X-Goog-Stored-Content-Length": str(len(self.data)),
        }
        return Response(200, self.data, headers)


_FIELDS: Final[dict[str, Callable[[StoredObject], str]]] = {
    "kind": lambda _: "storage#object",
    "id": lambda stored: f"{stored.bucket}/{stored.name}/{stored.generation}",
    "selfLink": lambda stored: f"{stored.api_url}/{stored.path}",
    "mediaLink": lambda stored: stored.media_link,
    "name": lambda stored: stored.name,
    "bucket": lambda stored: stored.bucket,
    "generation": lambda stored: str(stored.generation),
    "metageneration": lambda _: "1",
    "contentType": lambda stored: stored.content_type,
    "storageClass": lambda _: "STANDARD",
    "size": lambda stored: str(len(stored.data)),
    "md5Hash": lambda stored: stored.md5,
    "crc32c": lambda stored: stored.crc32c,
    "etag": lambda stored: stored.etag,
    "timeCreated": lambda stored: stored.created,
    "updated": lambda stored: stored.created,
    "timeStorageClassUpdated": lambda stored: stored.created,
    "timeFinalized": lambda stored: stored.created,
}
"""The fields of an object's resource. Source: https://cloud.google.com/storage/docs/json_api/v1/objects#resource."""


class Page(NamedTuple):
    """A page of a LIST."""

    objects: list[StoredObject]
    prefixes: list[str]
    next_token: str


class Bucket:
    """Objects by name, and their names in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[str, StoredObject] = {}
        self._names: list[str] = []  # the API orders by bytes of UTF-8, which is Python's order of strings

    def put(self, stored: StoredObject) -> None:
        if stored.name not in self.objects:
            insort(self._names, stored.name)
        self.objects[stored.name] = stored

    def delete(self, name: str) -> None:
        del self.objects[name]
        del self._names[bisect_left(self._names, name)]

    def page(
        self, *, prefix: str = "", delimiter: str = "", start: str = "", end: str = "", limit: int = MAX_RESULTS
    ) -> Page:
        """Return the objects from `start` on and before `end` whose names start with a prefix.

        With a delimiter, names that contain it after the prefix are shortened to prefixes.
        """
        page = Page([], [], "")
        index = bisect_left(self._names, max(prefix, start))
        while index < len(self._names) and (name := self._names[index]).startswith(prefix):
            if end and name >= end:
                break
            if len(page.objects) + len(page.prefixes) == limit:
                return page._replace(next_token=_encode_token(self._names[index - 1], page.prefixes))
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                page.objects.append(self.objects[name])
                index += 1
            else:
                page.prefixes.append(name[: cut + len(delimiter)])
                index = bisect_left(self._names, _after_all(page.prefixes[-1]))
        return page


def _encode_token(last: str, prefixes: list[str]) -> str:
    """Return the token of the page after a name, or after all names that the last prefix stands for."""
    start = _after_all(prefixes[-1]) if prefixes and last.startswith(prefixes[-1]) else f"{last}\0"
    return base64.urlsafe_b64encode(start.encode()).decode()


def _decode_token(token: str) -> str:
    return base64.urlsafe_b64decode(token).decode()


def _after_all(prefix: str) -> str:
    """Return the first name after all that start with a prefix."""
    return f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}"


class Operation(NamedTuple):
    """What a request asks for.

    Attributes:
        kind: The kind of the request.
        name: The name of the object, the prefix of a LIST, or the number of requests in a batch.
        perform: Does it.
    """

    kind: Kind
    name: str
    perform: Callable[[], Response]


class Upload(NamedTuple):
    """The object in a request that creates one."""

    name: str
    content_type: str
    data: bytes


class StorageApi:
    """The buckets, and what the API does with them. The simulated functions use `get` and `put` without HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._buckets: dict[str, Bucket] = {}
        self._generation = 0

    def get(self, bucket: str, name: str) -> StoredObject:
        """Return an object.

        Raises:
            StorageApiError: There is no such object.
        """
        try:
            return self._bucket(bucket).objects[name]
        except KeyError:
            raise StorageApiError(404, "notFound", f"No such object: {bucket}/{name}") from None

    def put(self, bucket: str, upload: Upload, *, if_generation_match: str | None = None) -> StoredObject:
        """Create or replace an object.

        Raises:
            StorageApiError: The bucket does not exist, or the precondition does not hold.
        """
        owner = self._bucket(bucket)
        _check_precondition(owner.objects.get(upload.name), if_generation_match)
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        stored = StoredObject(self._url, bucket, upload.name, upload.data, upload.content_type, self._generation)
        owner.put(stored)
        return stored

    def operation(self, request: Request) -> Operation:
        """Return what a request asks for, without doing it."""
        if request.path == BATCH_PATH:
            parts = _batch_parts(request)
            return Operation("BATCH", str(len(parts)), lambda: self._batch(parts))
        match = _PATH.fullmatch(request.path)
        api, bucket, of_objects, name = match.groups() if match else ("", "", "", "")
        operation = self._on_objects if of_objects else self._on_buckets
        kind, name, perform = operation(request, api, unquote(bucket or ""), unquote(name or ""))
        return Operation(kind, name, partial(_responding, perform))

    def _on_objects(self, request: Request, api: str | None, bucket: str, name: str) -> Operation:
        query = request.query
        match request.method, api, bool(name):
            case "POST", "upload", False:
                upload = _uploaded(request)
                return Operation("PUT", upload.name, lambda: self._upload(bucket, upload, query))
            case "GET", "download" | None, True if api or query.get("alt") == "media":
                return Operation("GET", name, lambda: self.get(bucket, name).media)
            case "GET", None, True:
                return Operation("METADATA", name, lambda: _json_text(self.get(bucket, name).resource_json))
            case "GET", None, False:
                return Operation("LIST", query.get("prefix", ""), lambda: self._list(bucket, query))
            case "DELETE", None, True:
                return Operation("DELETE", name, lambda: self._delete(bucket, name, query))
        return _not_simulated(request)

    def _on_buckets(self, request: Request, api: str | None, bucket: str, _: str) -> Operation:
        match request.method, api, bool(bucket):
            case "POST", None, False:
                name = json.loads(request.body)["name"]
                return Operation("BUCKET", name, lambda: self._create_bucket(name))
            case "GET", None, True:
                return Operation("BUCKET", bucket, lambda: _json(_bucket_resource(self._bucket(bucket).name)))
        return _not_simulated(request)

    def _bucket(self, name: str) -> Bucket:
        try:
            return self._buckets[name]
        except KeyError:
            raise StorageApiError(404, "notFound", "The specified bucket does not exist.") from None

    def _create_bucket(self, name: str) -> Response:
        if name in self._buckets:
            raise StorageApiError(409, "conflict", "Your previous request to create the named bucket succeeded.")
        self._buckets[name] = Bucket(name)
        return _json(_bucket_resource(name))

    def _upload(self, bucket: str, upload: Upload, query: Query) -> Response:
        stored = self.put(bucket, upload, if_generation_match=query.get("ifGenerationMatch"))
        return _json_text(stored.resource_json)

    def _delete(self, bucket: str, name: str, query: Query) -> Response:
        _check_precondition(self.get(bucket, name), query.get("ifGenerationMatch"))
        self._bucket(bucket).delete(name)
        return Response(204)

    def _list(self, bucket: str, query: Query) -> Response:
        page = self._bucket(bucket).page(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            start=max(_decode_token(query.get("pageToken", "")), query.get("startOffset", "")),
            end=query.get("endOffset", ""),
            limit=min(int(query.get("maxResults", MAX_RESULTS)), MAX_RESULTS),
        )
        selection = _selection(query.get("fields", ""))
        rest = {"kind": "storage#objects", "prefixes": page.prefixes, "nextPageToken": page.next_token}
        values = [f'"{name}": {json.dumps(value)}' for name, value in rest.items() if value and name in selection]
        fields = selection.get("items")
        if page.objects and fields is not None:
            items = ",".join(each.select(fields) if fields else each.resource_json for each in page.objects)
            values.append(f'"items": [{items}]')
        return _json_text(f"{{{','.join(values)}}}")

    def _batch(self, parts: "list[tuple[str, Request]]") -> Response:
        """Perform the requests of a batch one after another, and return all their responses."""
        if len(parts) > MAX_BATCH:
            error = StorageApiError(400, "badRequest", f"The batch has more than {MAX_BATCH} calls.")
            return error.response
        responses = [_batch_part(content_id, self.operation(request).perform()) for content_id, request in parts]
        body = "".join(f"--batch_response\r\n{response}" for response in responses)
        return Response(
            200, f"{body}--batch_response--\r\n".encode(), {"Content-Type": "multipart/mixed; boundary=batch_response"}
        )


def _responding(perform: Callable[[], Response]) -> Response:
    try:
        return perform()
    except StorageApiError as error:
        return error.response


def _not_simulated(request: Request) -> Operation:
    error = StorageApiError(501, "notImplemented", f"This simulation lacks {request.method} {request.path}.")
    return Operation("BUCKET", "", lambda: error.response)


def _check_precondition(stored: StoredObject | None, if_generation_match: str | None) -> None:
    if if_generation_match not in {None, str(stored.generation) if stored else "0"}:
        text = "At least one of the pre-conditions you specified did not hold."
        raise StorageApiError(412, "conditionNotMet", text)


def _uploaded(request: Request) -> Upload:
    """Parse a media upload, or a multipart one: metadata in JSON, then the content.

    Source: https://cloud.google.com/storage/docs/uploading-objects.
    """
    content_type = request.headers.get("Content-Type", "application/octet-stream")
    if request.query.get("uploadType") == "media":
        return Upload(request.query["name"], content_type, request.body)
    boundary = re.search(r"boundary=[\"']?([^\"';]+)", content_type)
    assert boundary, content_type
    _, metadata, content, _ = request.body.split(f"--{boundary[1]}".encode())
    fields = json.loads(metadata.split(b"\r\n\r\n", 1)[1])
    head, data = content.split(b"\r\n\r\n", 1)
    part_type = re.search(rb"content-type: ([^\r]+)", head, re.IGNORECASE)
    return Upload(
        fields["name"],
        fields.get("contentType") or (part_type[1].decode() if part_type else "application/octet-stream"),
        data.removesuffix(b"\r\n"),
    )


@cache
def _selection(fields: str) -> Mapping[str, frozenset[str]]:
    """Return the fields of a page that a `fields` parameter selects, with the selected fields of each, or none for all.

    A page without `nextPageToken` looks like the last one to a client. The real API drops it too.
    Source: https://cloud.google.com/storage/docs/json_api#partial-response.
    """
    selected = re.findall(r"(\w+)(?:\(([^)]*)\)|/(\w+))?", fields or "kind,prefixes,nextPageToken,items")
    return {name: frozenset(filter(None, (group or one).split(","))) for name, group, one in selected}


def _batch_parts(request: Request) -> "list[tuple[str, Request]]":
    """Return the requests in a batch with their content ids."""
    head = f"Content-Type: {request.headers.get('Content-Type', '')}\n\n".encode()
    message = BytesParser().parsebytes(head + request.body)
    parts = []
    for part in message.get_payload():
        assert isinstance(part, Message)
        method, url, _ = str(part.get_payload()).splitlines()[0].split(" ")
        target = urlsplit(url)
        parts.append((part.get("Content-ID", ""), Request(method, target.path, target.query)))
    return parts


def _batch_part(content_id: str, response: Response) -> str:
    """Return a part of the response to a batch, as Cloud Storage writes it.

    Source: https://cloud.google.com/storage/docs/batch#example.
    """
    headers = {**response.headers, "Content-Length": str(len(response.body))}
    lines = [
        "Content-Type: application/http",
        f"Content-ID: <response-{content_id.strip('<>')}>",
        "",
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "",
        response.body.decode(),
        "",
    ]
    return "\r\n".join(lines)


def _bucket_resource(name: str) -> dict[str, Any]:
    return {"kind": "storage#bucket", "id": name, "name": name, "location": "US", "storageClass": "STANDARD"}


def _json(value: object, status: int = 200) -> Response:
    return _json_text(json.dumps(value), status)


def _json_text(text: str, status: int = 200) -> Response:
    return Response(status, text.encode(), _JSON)
