"""An HTTP proxy that routes host names to servers on this machine, and refuses all others."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

CONNECT_TIMEOUT: Final = 10.0
IDLE_TIMEOUT: Final = 60.0
_BLOCK: Final = 64 * 1024


@dataclass
class Routes:
    """The routes of the proxy, and the requests.

    Attributes:
        ports: The port on this machine for each host that is served, by `(host, port)`.
        asked: The `(host, port)` of each request, in order.
    """

    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    @property
    def refused(self) -> list[tuple[str, int]]:
        """The requests to hosts that nothing serves."""
        return [target for target in self.asked if target not in self.ports]


@contextmanager
def run_proxy(routes: Routes) -> Iterator[str]:
    """Run the proxy on a free port while the block runs, and yield its URL."""

    class Handler(_ProxyHandler):
        proxy_routes = routes

    with _Server(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="proxy", daemon=True)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            serving.join()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


class _ProxyHandler(BaseHTTPRequestHandler):
    """Tunnels `CONNECT host:port`, and forwards `METHOD http://host/path` of one request a connection."""

    protocol_version = "HTTP/1.1"
    proxy_routes: Routes

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if upstream := self._connect(host, int(port)):
            with upstream:
                self.send_response(HTTPStatus.OK, "Connection established")
                self.end_headers()
                self._relay(upstream)

    def _forward(self) -> None:
        url = urlsplit(self.path)
        if upstream := self._connect(url.hostname or "", url.port or 80):
            with upstream:
                upstream.sendall(self._origin_form(url.path or "/", url.query))
                self._relay(upstream)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Log nothing: the routes record requests."""

    def _connect(self, host: str, port: int) -> socket.socket | None:
        self.close_connection = True
        self.proxy_routes.asked.append((host, port))
        local_port = self.proxy_routes.ports.get((host, port))
        if local_port is None:
            self.send_error(HTTPStatus.BAD_GATEWAY, f"nothing serves {host}:{port}")
            return None
        return socket.create_connection(("127.0.0.1", local_port), timeout=CONNECT_TIMEOUT)

    def _origin_form(self, path: str, query: str) -> bytes:
        """Return the request's head as the origin server expects it, for this one request on the connection."""
        del self.headers["Proxy-Connection"], self.headers["Connection"]
        self.headers["Connection"] = "close"
        lines = [f"{self.command} {path}{'?' if query else ''}{query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _relay(self, upstream: socket.socket) -> None:
        upstream.settimeout(IDLE_TIMEOUT)
        answers = Thread(target=self._relay_answers, args=(upstream,), name="proxy answers", daemon=True)
        answers.start()
        with suppress(OSError):
            while data := self.rfile.read1(_BLOCK):
                upstream.sendall(data)
        with suppress(OSError):
            upstream.shutdown(socket.SHUT_WR)
        answers.join()

    def _relay_answers(self, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(_BLOCK):
                self.connection.sendall(data)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
