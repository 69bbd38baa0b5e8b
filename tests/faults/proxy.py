"""An HTTP reverse proxy that injects the faults of a plan, and counts them.

It runs in threads of the test's process, in front of an emulator of Cloud Storage or of a function. Requests without a
fault pass unchanged, with their `Host` header, so that absolute links in the answers lead through the proxy. It holds
whole bodies in memory, speaks plain HTTP/1.1, and opens one connection upstream per request.

    with FaultProxy(emulator.url, [Fault(UPLOAD.of(r"/2\\.json$"), ResetAfter())]) as proxy:
        client = storage_client(proxy.url)
"""

import json
import re
import socket
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, unquote_plus, urlsplit

from tests.faults.accounting import ActivePlan, RequestRecord
from tests.faults.plan import (
    STORAGE_PRECONDITION_FAILED,
    Fault,
    HangUp,
    Headers,
    Reply,
    Request,
    Response,
    kind_of,
)

JOIN_TIMEOUT: Final = 10.0
_PARALLEL_DELIVERIES: Final = 64
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 seconds
_HOP_BY_HOP: Final = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_OBJECT_PATH: Final = re.compile(r"(?:/upload|/download)?(?:/storage/v1)?/b/([^/]+)/o(?:/(.+))?")


def parse_request(method: str, target: str, headers: Headers, body: bytes) -> Request:
    """Parse a request, and find the object that it names."""
    path, _, query = target.partition("?")
    request = Request(method, target, unquote(path), unquote_plus(query), headers, body)
    storage_path = _OBJECT_PATH.fullmatch(path)
    if storage_path is None:
        return request
    bucket, name = storage_path.groups()
    is_upload = path.startswith("/upload/")
    name = _uploaded_name(request) if is_upload else name and unquote(name)
    create_only = is_upload and name is not None and parse_qs(query).get("ifGenerationMatch") == ["0"]
    return replace(request, bucket=unquote(bucket), object_name=name, create_only=create_only)


def _uploaded_name(request: Request) -> str | None:
    """Return the object's name, from the query or the body of an upload, or of the start of a resumable one."""
    if names := parse_qs(request.target.partition("?")[2]).get("name"):
        return names[0]
    start, end = 0, len(request.body)
    if "uploadType=multipart" in request.query:  # the first part is the metadata
        start = request.body.find(b"\r\n\r\n") + 4
        end = request.body.find(b"\r\n--", start)
    with suppress(ValueError):  # the body is not JSON
        metadata: Any = json.loads(request.body[start:end])
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else None
    return None


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def serve(self) -> None:
        """Receive one request, and reply."""
        reply = self.server.answer(self._receive())
        if isinstance(reply, Response):
            self._respond(reply)
        else:
            self._hang_up(reply)

    do_DELETE = do_GET = do_POST = do_PUT = serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in http.server
        """Print nothing: the proxy's log is `FaultProxy.requests`."""

    def _receive(self) -> Request:
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionAbortedError(f"The client sent {len(body)} of {size} bytes.")
        return parse_request(self.command, self.path, tuple(self.headers.items()), body)

    def _respond(self, response: Response) -> None:
        has_body = response.status != 204
        self.send_response_only(response.status, response.reason)
        for name, value in response.headers:
            if name.lower() not in _HOP_BY_HOP and not (has_body and name.lower() == "content-length"):
                self.send_header(name, value)
        if has_body:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if has_body:
            for piece in response.pieces or [response.body[: response.keep_bytes]]:
                self.wfile.write(piece)
        if response.keep_bytes is not None:
            self.close_connection = True

    def _hang_up(self, how: HangUp) -> None:
        self.close_connection = True
        if how is HangUp.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.rfile.close()  # it holds the socket open
            self.connection.close()


class _Server(ThreadingTCPServer):
    """Listens on a free port, with a thread for each connection.

    Args:
        answer: Called with each request, in the thread of its connection.
    """

    request_queue_size = 512
    daemon_threads = True

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self.failures: list[BaseException] = []
        self._connections: dict[Thread, socket.socket] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread that is remembered: the base class forgets its daemon threads."""
        for thread in [thread for thread in self._connections if not thread.is_alive()]:
            del self._connections[thread]
        thread = Thread(target=self.process_request_thread, args=(request, client_address), name="fault-proxy-client")
        thread.daemon = True
        thread.start()
        self._connections[thread] = request

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep an exception for the end of the proxy's block, unless the client has only disconnected."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.failures.append(error)

    def end_connections(self) -> None:
        """End all connections, also idle ones, and wait for their threads. The server must not listen any more."""
        for connection in self._connections.values():
            _shut_down(connection)
        for thread in self._connections:
            thread.join(JOIN_TIMEOUT)
        if left := [thread.name for thread in self._connections if thread.is_alive()]:
            raise RuntimeError(f"Expected all threads of the proxy to end, but {left} still run.")


def _shut_down(connection: socket.socket) -> None:
    """End a connection, for the thread that waits for it."""
    with suppress(OSError):  # the other side may have gone already
        connection.shutdown(socket.SHUT_RDWR)


class _Upstream:
    """The server behind the proxy.

    Args:
        url: Its URL, with plain HTTP.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
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
        """End all requests in progress. Later ones fail."""
        with self._lock:
            self._closed = True
            for connection in self._sockets:
                _shut_down(connection)

    def _write(self, connection: HTTPConnection, request: Request) -> None:
        connection.putrequest(request.method, self._base + request.target, skip_host=True, skip_accept_encoding=True)
        has_length = bool(request.body)
        for name, value in request.headers:
            if name.lower() == "content-length":
                has_length = True
            elif name.lower() not in _HOP_BY_HOP:
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


class _Preconditions:
    """Enforces `ifGenerationMatch=0` for an emulator that ignores it. All uploads must come through this proxy.

    Args:
        upstream: The emulator.
    """

    def __init__(self, upstream: _Upstream) -> None:
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


@dataclass(frozen=True)
class _Exchange:
    """What an action can do with its request."""

    request: Request
    plan: ActivePlan
    send: Callable[[Request], Response]
    pool: ThreadPoolExecutor
    deliveries: "list[Future[Response]]"

    def forward(self) -> Response:
        return self.send(self.request)

    def deliver(self, after: float = 0.0) -> "Future[Response]":
        self.deliveries.append(self.pool.submit(self._send_after, after))
        return self.deliveries[-1]

    def _send_after(self, seconds: float) -> Response:
        self.plan.ended.wait(seconds)
        return self.send(self.request)

    def wait(self, seconds: float) -> None:
        self.plan.ended.wait(seconds)

    def answered(self, answer: Response) -> "_Exchange":
        """Return the exchange of a delivered request: to forward it gives its answer."""
        return replace(self, send=lambda _: answer)


class FaultProxy:
    """A reverse proxy with a fault plan, running while its block runs.

    Leaving the block without an exception raises a `FaultNotTriggeredError` if a planned fault was not triggered.
    The end of the block ends all waits and all requests in progress.

    Args:
        upstream: The URL of the emulator or the function.
        faults: The plan.
        enforce_preconditions: Whether the proxy refuses uploads with `ifGenerationMatch=0` whose object exists.

    Attributes:
        requests: All requests, in the order in which they were handled.
    """

    def __init__(self, upstream: str, faults: Sequence[Fault] = (), *, enforce_preconditions: bool = False) -> None:
        self.requests: list[RequestRecord] = []
        self._upstream = _Upstream(upstream)
        self._send = (_Preconditions(self._upstream) if enforce_preconditions else self._upstream).send
        self._plan = ActivePlan(faults)
        self._deliveries: list[Future[Response]] = []
        self._pool = ThreadPoolExecutor(_PARALLEL_DELIVERIES, thread_name_prefix="fault-proxy-delivery")
        self._server = _Server(self._answer)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """The proxy's own URL, without a path."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def plan(self) -> ActivePlan:
        """The active plan."""
        return self._plan

    @contextmanager
    def planned(self, *faults: Fault) -> Iterator[ActivePlan]:
        """Use another plan while the block runs, for a proxy that outlives a test.

        Raises:
            FaultNotTriggeredError: The block has ended without an exception, but a fault was not triggered.
        """
        outer, self._plan = self._plan, ActivePlan(faults)
        plan = self._plan
        try:
            yield plan
        finally:
            plan.ended.set()
            wait(self._deliveries, JOIN_TIMEOUT)  # late deliveries belong to this plan
            self._plan = outer
        self._check(plan)

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        if error is None:
            self._check(self._plan)

    def _check(self, plan: ActivePlan) -> None:
        if self._server.failures:
            raise self._server.failures.pop(0)
        plan.check()

    def _close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._upstream.close()
        self._plan.ended.set()  # after the line before, so that delayed requests are not forwarded
        self._server.end_connections()
        self._pool.shutdown()
        self._server.server_close()

    def _answer(self, request: Request) -> Reply:
        came, plan = time.time(), self._plan
        reply, fault = self._reply(_Exchange(request, plan, self._send, self._pool, self._deliveries))
        status = reply.status if isinstance(reply, Response) else None
        record = RequestRecord(
            request.method, kind_of(request), request.path, request.object_name, status, fault, request.body, came
        )
        self.requests.append(record)
        plan.requests.append(record)
        return reply

    def _reply(self, exchange: _Exchange) -> tuple[Reply, Fault | None]:
        """Inject a fault before the delivery or else, with the answer, after it, if the plan has one."""
        fault = exchange.plan.next_fault(exchange.request)
        try:
            if fault:
                return fault.action.apply(exchange), fault
            answer = exchange.forward()
            fault = exchange.plan.next_fault(exchange.request, answer)
            return (fault.action.apply(exchange.answered(answer)) if fault else answer), fault
        except (OSError, HTTPException):
            return HangUp.RESET, fault  # upstream is gone or has hung up, and so does the proxy
