"""An HTTP reverse proxy that strikes requests as a fault plan says, and keeps account of it.

It runs in threads of the test's process, in front of an emulator of Cloud Storage or of a function. What a plan does
not strike passes unchanged, the `Host` header included, so that the absolute links in the answers lead through the
proxy. Bodies are held in memory as a whole. It speaks plain HTTP/1.1, and opens one connection upstream per request.
"""

import json
import re
import socket
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Condition, Event, Lock, Thread
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, unquote_plus, urlsplit

from tests.faults.plan import (
    STORAGE_PRECONDITION_FAILED,
    Fault,
    FaultNotMetError,
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
_OBJECT_PATH: Final = re.compile(r"(?:/upload|/download)?(?:/storage/v1)?/b/([^/]+)/o(?:/(.+))?")
_HOP_BY_HOP: Final = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


def refused_url() -> str:
    """Return a URL at which connections are refused: nothing listens there any more."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# ---------------------------------------------------------------------------------------------------------- accounting


@dataclass(frozen=True)
class RequestRecord:
    """A request that the proxy has dealt with. It is on record before its client gets the answer.

    Attributes:
        method: The HTTP method.
        kind: The name of the match of its kind, such as "upload".
        path: The unquoted path.
        object_name: The object that it was about, if any.
        status: The status that its client was given, None if it got no answer.
        fault: The fault that struck it, if any.
    """

    method: str
    kind: str
    path: str
    object_name: str | None
    status: int | None
    fault: Fault | None


@dataclass
class _Account:
    """How a fault has fared so far."""

    fault: Fault
    seen: int = 0
    strikes: int = 0
    ends_at: float | None = None

    def meet(self, request: Request, now: float) -> bool:
        """Count a request if it matches, and tell whether it is to be struck."""
        if not self.fault.match.matches(request):
            return False
        self.seen += 1
        if self.ends_at is not None:
            return now < self.ends_at
        due = self.seen in self.fault.at
        if due and self.fault.action.lasts:
            self.ends_at = now + self.fault.action.lasts
        return due

    @property
    def met(self) -> bool:
        return self.strikes >= self.fault.minimum


class PlanInForce:
    """A plan that requests meet now, with its accounts.

    Attributes:
        requests: The requests since it came into force, in the order in which they were dealt with.
        over: Set when it is no longer in force: then nothing waits on its behalf any more.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.requests: list[RequestRecord] = []
        self.over = Event()
        self._accounts = [_Account(fault) for fault in faults]
        self._changed = Condition()

    def strike(self, request: Request) -> Fault | None:
        """Count a request, and return the fault that strikes it."""
        with self._changed:
            now = time.monotonic()
            due = [account for account in self._accounts if account.meet(request, now)]  # each counts what it matches
            if not due:
                return None
            due[0].strikes += 1
            self._changed.notify_all()
            return due[0].fault

    def strikes(self, fault: Fault) -> int:
        """How often a fault of the plan has struck."""
        with self._changed:
            return sum(account.strikes for account in self._accounts if account.fault == fault)

    def wait_until_met(self, timeout: float) -> None:
        """Wait until every fault of the plan has struck as often as it must.

        Raises:
            FaultNotMetError: That was not so after `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: all(account.met for account in self._accounts), timeout)
        self.check()

    def check(self) -> None:
        """Raise a `FaultNotMetError` that names the faults that were not met, if there are any."""
        with self._changed:
            missed = [account for account in self._accounts if not account.met]
        if missed:
            faults = "\n".join(
                f"  struck {account.strikes} of at least {account.fault.minimum}, {account.seen} requests matched: "
                f"{account.fault}"
                for account in missed
            )
            log = "\n".join(f"  {r.kind} {r.object_name or r.path}: {r.status}" for r in self.requests) or "  none"
            raise FaultNotMetError(f"Planned faults were not met:\n{faults}\nThe requests were:\n{log}")


# ------------------------------------------------------------------------------------------------------------ upstream


class _Upstream:
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
    """Enforces `ifGenerationMatch=0`, for an emulator that ignores it, as long as all uploads come this way.

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


class _ResumableUploads:
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


# ------------------------------------------------------------------------------------------------------------ requests


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


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # the other side may have gone already
        connection.shutdown(socket.SHUT_RDWR)


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

    do_DELETE = do_GET = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in http.server
        """Say nothing: the proxy's log is `FaultProxy.requests`."""

    def _receive(self) -> Request:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            body = b"".join(self._chunks())
        else:
            body = self._read(int(self.headers.get("Content-Length", 0)))
        return parse_request(self.command, self.path, tuple(self.headers.items()), body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self._read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError(f"The client sent {len(data)} of {size} bytes.")
        return data

    def _respond(self, response: Response) -> None:
        has_body = self.command != "HEAD" and response.status not in {204, 304}
        self.send_response_only(response.status, response.reason)
        for name, value in response.headers:
            if name.lower() not in _HOP_BY_HOP and not (has_body and name.lower() == "content-length"):
                self.send_header(name, value)
        if has_body:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if has_body:
            self.wfile.write(response.body[: response.keep_bytes])
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
        """Keep an exception for the end of the proxy's block, unless the client has just gone away."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.failures.append(error)

    def end_connections(self) -> None:
        """End all connections, idle ones too, and wait for their threads. No new ones may come any more."""
        for connection in self._connections.values():
            _shut_down(connection)
        for thread in self._connections:
            thread.join(JOIN_TIMEOUT)
        if left := [thread.name for thread in self._connections if thread.is_alive()]:
            raise RuntimeError(f"Expected all threads of the proxy to end, but {left} still run.")


# ----------------------------------------------------------------------------------------------------------- the proxy


@dataclass(frozen=True)
class _Exchange:
    """One request that is struck: what its action can do with it."""

    request: Request
    plan: PlanInForce
    send: Callable[[Request], Response]
    pool: ThreadPoolExecutor

    def forward(self) -> Response:
        return self.send(self.request)

    def deliver(self) -> "Future[Response]":
        return self.pool.submit(self.send, self.request)

    def wait(self, seconds: float) -> None:
        self.plan.over.wait(seconds)


class FaultProxy:
    """A reverse proxy with a fault plan, running while its block runs.

    Leaving the block without an exception raises a `FaultNotMetError` if a planned fault was not met. Nothing is left
    running: what still waits is ended, what is under way upstream is cut off.

    Args:
        upstream: The URL of the emulator or the function.
        faults: The plan.
        enforce_preconditions: Whether uploads with `ifGenerationMatch=0` are refused here when their object exists.

    Attributes:
        requests: All requests, in the order in which they were dealt with.
    """

    def __init__(self, upstream: str, faults: Sequence[Fault] = (), *, enforce_preconditions: bool = False) -> None:
        self.requests: list[RequestRecord] = []
        self._upstream = _Upstream(upstream)
        self._sender = _Preconditions(self._upstream) if enforce_preconditions else self._upstream
        self._uploads = _ResumableUploads()
        self._plan = PlanInForce(faults)
        self._pool = ThreadPoolExecutor(_PARALLEL_DELIVERIES, thread_name_prefix="fault-proxy-delivery")
        self._server = _Server(self._answer)
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """The proxy's own URL, without a path."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def plan(self) -> PlanInForce:
        """The plan that requests meet now."""
        return self._plan

    @contextmanager
    def planned(self, *faults: Fault) -> Iterator[PlanInForce]:
        """Put another plan into force while the block runs, for a proxy that outlives a test.

        Raises:
            FaultNotMetError: The block has ended without an exception, and a fault of this plan was not met.
        """
        outer, self._plan = self._plan, PlanInForce(faults)
        plan = self._plan
        try:
            yield plan
        finally:
            plan.over.set()
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

    def _check(self, plan: PlanInForce) -> None:
        if self._server.failures:
            raise self._server.failures.pop(0)
        plan.check()

    def _close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._upstream.close()
        self._plan.over.set()  # after that: what was delayed is not forwarded any more
        self._server.end_connections()
        self._pool.shutdown()
        self._server.server_close()

    def _answer(self, received: Request) -> Reply:
        request, plan = self._uploads.identify(received), self._plan
        fault = plan.strike(request)
        exchange = _Exchange(request, plan, self._send, self._pool)
        reply: Reply
        try:
            reply = fault.action.play(exchange) if fault else exchange.forward()
        except (OSError, HTTPException):
            reply = HangUp.RESET  # upstream is gone or has hung up, and so does the proxy
        status = reply.status if isinstance(reply, Response) else None
        record = RequestRecord(request.method, kind_of(request), request.path, request.object_name, status, fault)
        self.requests.append(record)
        plan.requests.append(record)
        return reply

    def _send(self, request: Request) -> Response:
        if end := self._uploads.end(request):
            return end
        response = self._sender.send(request)
        self._uploads.remember(request, response)
        return response
