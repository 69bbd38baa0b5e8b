"""An HTTP reverse proxy that strikes requests as a fault plan says, and keeps account of it.

It runs in threads of the test's process, in front of an emulator of Cloud Storage or of a function. What a plan does
not strike passes unchanged, the `Host` header included, so that the absolute links in the answers lead through the
proxy. Bodies are held in memory as a whole. It speaks plain HTTP/1.1, and opens one connection upstream per request.
"""

import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread
from types import TracebackType
from typing import Any, Final

from tests.faults.accounting import PlanInForce, RequestRecord
from tests.faults.parsing import parse_request
from tests.faults.plan import Fault, HangUp, Reply, Request, Response, kind_of
from tests.faults.upstream import HOP_BY_HOP, Preconditions, ResumableUploads, Upstream, shut_down

JOIN_TIMEOUT: Final = 10.0
_PARALLEL_DELIVERIES: Final = 64
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 seconds


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
            if name.lower() not in HOP_BY_HOP and not (has_body and name.lower() == "content-length"):
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
            shut_down(connection)
        for thread in self._connections:
            thread.join(JOIN_TIMEOUT)
        if left := [thread.name for thread in self._connections if thread.is_alive()]:
            raise RuntimeError(f"Expected all threads of the proxy to end, but {left} still run.")


@dataclass(frozen=True)
class _Exchange:
    """One request that is struck: what its action can do with it."""

    request: Request
    plan: PlanInForce
    send: Callable[[Request], Response]
    pool: ThreadPoolExecutor
    deliveries: "list[Future[Response]]"

    def forward(self) -> Response:
        return self.send(self.request)

    def deliver(self, after: float = 0.0) -> "Future[Response]":
        self.deliveries.append(self.pool.submit(self._send_after, after))
        return self.deliveries[-1]

    def _send_after(self, seconds: float) -> Response:
        self.plan.over.wait(seconds)
        return self.send(self.request)

    def wait(self, seconds: float) -> None:
        self.plan.over.wait(seconds)

    def answered(self, answer: Response) -> "_Exchange":
        """Return the exchange whose request has been delivered already: to forward it gives its answer."""
        return replace(self, send=lambda _: answer)


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
        self._upstream = Upstream(upstream)
        self._sender = Preconditions(self._upstream) if enforce_preconditions else self._upstream
        self._uploads = ResumableUploads()
        self._plan = PlanInForce(faults)
        self._deliveries: list[Future[Response]] = []
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
            wait(self._deliveries, JOIN_TIMEOUT)  # what is delivered late belongs to this plan
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
        reply, fault = self._reply(_Exchange(request, plan, self._send, self._pool, self._deliveries))
        status = reply.status if isinstance(reply, Response) else None
        record = RequestRecord(
            request.method, kind_of(request), request.path, request.object_name, status, fault, request.body
        )
        self.requests.append(record)
        plan.requests.append(record)
        return reply

    def _reply(self, exchange: _Exchange) -> tuple[Reply, Fault | None]:
        """Strike a request before it is delivered or, if no fault does that, its answer; or else leave both alone."""
        fault = exchange.plan.strike(exchange.request)
        try:
            if fault:
                return fault.action.play(exchange), fault
            answer = exchange.forward()
            fault = exchange.plan.strike(exchange.request, answer)
            return (fault.action.play(exchange.answered(answer)) if fault else answer), fault
        except (OSError, HTTPException):
            return HangUp.RESET, fault  # upstream is gone or has hung up, and so does the proxy

    def _send(self, request: Request) -> Response:
        if end := self._uploads.end(request):
            return end
        response = self._sender.send(request)
        self._uploads.remember(request, response)
        return response
