"""The server behind the proxy, and what the proxy does in its place where an emulator differs from Cloud Storage."""

import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from threading import Lock
from typing import Final
from urllib.parse import quote, urlsplit

from tests.faults.plan import STORAGE_PRECONDITION_FAILED, Request, Response

HOP_BY_HOP: Final = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


def shut_down(connection: socket.socket) -> None:
    """Shut a connection down, for the thread that waits for it."""
    with suppress(OSError):  # the other side may have gone already
        connection.shutdown(socket.SHUT_RDWR)


class Upstream:
    """The server behind the proxy.

    Args:
        url: Its URL, with plain HTTP.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"Expected the URL of an upstream with plain HTTP, got {url!r}.")
        self._address = (parts.hostname, parts.port or 80)
        self._base = parts.path.rstrip("/")
        self._sockets: set[socket.socket] = set()
        self._lock = Lock()
        self._closed = False

    def send(self, request: Request) -> Response:
        """Send a request, and return the answer.

        Raises:
            OSError: The connection failed, or the proxy is closing.
            HTTPException: The answer was malformed, or cut short.
        """
        connection = HTTPConnection(*self._address)
        try:
            connection.connect()
            with self._abortable(connection.sock):
                self._write(connection, request)
                answer = connection.getresponse()
                return Response(answer.status, tuple(answer.getheaders()), answer.read(), answer.reason)
        finally:
            connection.close()

    def close(self) -> None:
        """End all requests that are under way; later ones fail."""
        with self._lock:
            self._closed = True
            for connection in self._sockets:
                shut_down(connection)

    def _write(self, connection: HTTPConnection, request: Request) -> None:
        connection.putrequest(request.method, self._base + request.target, skip_host=True, skip_accept_encoding=True)
        has_length = bool(request.body)
        for name, value in request.headers:
            if name.lower() == "content-length":
                has_length = True
            elif name.lower() not in HOP_BY_HOP:
                connection.putheader(name, value)
        if has_length:
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body or None)

    @contextmanager
    def _abortable(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("The proxy is closing.")
            self._sockets.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(connection)


class Preconditions:
    """Enforces `ifGenerationMatch=0`, for an emulator that ignores it, as long as all uploads come this way.

    Args:
        upstream: The emulator.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._locks: defaultdict[tuple[str | None, str | None], Lock] = defaultdict(Lock)
        self._lock = Lock()

    def send(self, request: Request) -> Response:
        """Send an upload unless its object exists. Uploads to the same object wait for each other."""
        if not request.create_only:
            return self._upstream.send(request)
        with self._lock:
            lock = self._locks[request.bucket, request.object_name]
        with lock:
            if self._exists(request.bucket or "", request.object_name or ""):
                return STORAGE_PRECONDITION_FAILED.response
            return self._upstream.send(request)

    def _exists(self, bucket: str, name: str) -> bool:
        path = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        status = self._upstream.send(Request("GET", path, path, "", (("Host", "localhost"),), b"")).status
        if status not in {200, 404}:
            raise RuntimeError(f"Expected HTTP 200 or 404 for the metadata of gs://{bucket}/{name}, got {status}.")
        return status == 200


class ResumableUploads:
    """Remembers the resumable uploads: which object each is for, as only its start says so, and how it ended.

    Cloud Storage answers with the object when a finished upload is sent or asked for again, after a lost
    acknowledgement. Both emulators drop the connection instead, so that answer is given here.
    """

    def __init__(self) -> None:
        self._starts: dict[str, Request] = {}
        self._ends: dict[str, Response] = {}

    def identify(self, request: Request) -> Request:
        """Return a request with its object, if it belongs to a resumable upload."""
        start = self._starts.get(request.target)
        if start is None:
            return request
        return replace(request, bucket=start.bucket, object_name=start.object_name, create_only=start.create_only)

    def end(self, request: Request) -> Response | None:
        """Return the answer that finished the upload to which a request belongs."""
        return self._ends.get(request.target)

    def remember(self, request: Request, response: Response) -> None:
        """Take note of an upload that has started or ended."""
        if request.target in self._starts:
            if response.status in {200, 201}:
                self._ends[request.target] = response
        elif "uploadType=resumable" in request.query:
            for location in (value for name, value in response.headers if name.lower() == "location"):
                parts = urlsplit(location)
                self._starts[f"{parts.path}?{parts.query}" if parts.query else parts.path] = request
