"""Counts the requests that reach the emulator: a reverse proxy in front of it."""

import http.client
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

KINDS: Final = {
    "GET": "reads",
    "HEAD": "reads",
    "POST": "writes",
    "PUT": "writes",
    "PATCH": "writes",
    "DELETE": "deletes",
}
HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True)
class SeenRequest:
    """A request that came by.

    Attributes:
        time: When it came, in seconds since the epoch.
        kind: `reads`, `writes` or `deletes`.
        path: Its path and query.
    """

    time: float
    kind: str
    path: str


class CountingProxy(ThreadingHTTPServer):
    """Passes each request on to the emulator, and keeps note of it.

    Args:
        target: The URL of the emulator.

    Attributes:
        seen: The requests so far.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.seen: list[SeenRequest] = []

    @property
    def url(self) -> str:
        """What `STORAGE_EMULATOR_HOST` is set to."""
        return f"http://127.0.0.1:{self.server_port}"

    def count(self, bucket: str, start: float, end: float) -> Counter[str]:
        """Count the requests for a bucket by their kind, from one time to another."""
        return Counter(
            request.kind for request in list(self.seen) if f"/{bucket}" in request.path and start <= request.time < end
        )


class _Handler(BaseHTTPRequestHandler):
    server: CountingProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _forward(self) -> None:
        self.server.seen.append(SeenRequest(time.time(), KINDS[self.command], self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            response = connection.getresponse()
            self._answer(response, response.read())
        finally:
            connection.close()

    def _answer(self, response: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def run_counting_proxy(target: str) -> Iterator[CountingProxy]:
    """Run a proxy in front of an emulator while the block runs."""
    with CountingProxy(target) as proxy:
        thread = Thread(target=proxy.serve_forever, name="counting proxy", daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
