"""A function without any package of ours: a raw HTTP server that implements docs/protocol.md and the six tasks.

Each defect makes it break the protocol in one way.
"""

import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.conformance import bucket
from tests.conformance.admission import PROTOCOL, RefusedError, Request, admit
from tests.conformance.session import HEARTBEAT_INTERVAL, Session, StoppedError
from tests.conformance.tasks import TASKS, Reply

VERSION = "0.1.0"
MAX_RESPONSE = 32 * 1024
Response = tuple[int, dict[str, str], bytes]


@contextmanager
def function_by_hand(*defects: str) -> Iterator[str]:
    """Serve the function while the block runs; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            arrived = time.monotonic()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, content = answer(self.command, body, dict(self.headers), arrived, defects)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_any  # noqa: N815 - the base class names them so

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing on stderr."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server(ThreadingHTTPServer):
    """Takes a connection for each call at once."""

    daemon_threads = True
    request_queue_size = 64


def answer(method: str, body: bytes, headers: Mapping[str, str], arrived: float, defects: Collection[str]) -> Response:
    """Refuse a request, or run its task as a session."""
    if (method == "GET" and "takes_get" in defects) or (body.startswith(b"[") and "takes_lists" in defects):
        return 200, {}, b"hello"
    try:
        request = admit(method, body, headers, defects)
    except RefusedError as error:
        return _refusal(400, "bad_request", str(error), defects)
    except RuntimeError:
        return 500, {}, b""
    allowed = 1e9 if "ignores_deadline" in defects else float(headers["Dagster-Pipes-Timeout"]) / 2
    session = Session(request.messages, arrived + allowed, defects)
    if "claims_late" in defects and request.event["task"] == "sleep":
        threading.Event().wait(request.event["seconds"])
        request = replace(request, event={**request.event, "seconds": 0})
    return _claim(session, defects) or _run(request, session, defects)


def _claim(session: Session, defects: Collection[str]) -> Response | None:
    """Claim the session, or return the refusal."""
    try:
        session.claim(_opened_extras(defects))
    except bucket.ExistsError:
        status = 200 if "answers_duplicates_with_200" in defects else 409
        return _refusal(status, "duplicate_call", "a duplicate", defects)
    except OSError as error:
        crashed = "crashes_at_buckets" in defects
        return (500, {}, b"") if crashed else _refusal(400, "bucket_not_found", str(error), defects)
    return None


def _opened_extras(defects: Collection[str]) -> dict[str, Any]:
    if "says_nothing" in defects:
        return {}
    closes: Any = "yes" if "closes_with_text" in defects else True
    version = "0.2.0" if "says_two_versions" in defects else VERSION
    facts = {"closes_with_request": closes, "protocol": PROTOCOL, "version": version}
    return {**facts, "heartbeat_interval": HEARTBEAT_INTERVAL}


def _run(request: Request, session: Session, defects: Collection[str]) -> Response:
    try:
        reply = TASKS[request.event["task"]](request, session, defects)
        closed = _closed(reply, defects)
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises
        status = 502 if "chooses_its_status" in defects and not isinstance(error, StoppedError) else 500
        silent = isinstance(error, StoppedError) and "stops_in_silence" in defects
        reply = Reply(200 if silent else status, b"{}")
        closed = {} if silent else {"exception": _described(error, defects)}
    try:
        session.close(closed)
    except bucket.ExistsError:
        reply = Reply(500, b"{}")
    return reply.status, {**_headers(session, defects), **reply.headers}, reply.body


def _closed(reply: Reply, defects: Collection[str]) -> dict[str, Any]:
    text = reply.body.decode()
    if reply.status not in range(200, 300):
        if "reports_no_status" in defects:
            return {}
        message = f"The function responded with HTTP {reply.status}: {text}"
        return {"exception": _exception("PipesResponseStatusError", message, [], None)}
    response = {"status": 299 if "keeps_another_response" in defects else reply.status, "body": text}
    usage: Any = {"wall_seconds": "long" if "measures_in_words" in defects else 0.5}
    if "says_nothing" in defects:
        return {}
    is_short = len(text) <= MAX_RESPONSE or "keeps_long_responses" in defects
    kept = {"response": {**response, "content_type": "application/json"}} if is_short else {}
    return {**kept, "usage": usage}


def _described(error: BaseException, defects: Collection[str]) -> dict[str, Any]:
    cause = error.__cause__ and _described(error.__cause__, defects)
    stack = [] if "has_no_stack" in defects else ["in main"]
    return _exception(type(error).__name__, str(error), stack, None if "has_no_cause" in defects else cause)


def _exception(name: str, message: str, stack: list[str], cause: Any) -> dict[str, Any]:
    return {"name": name, "message": message, "stack": stack, "cause": cause, "context": None}


def _headers(session: Session, defects: Collection[str]) -> dict[str, str]:
    said = {"Dagster-Pipes-Protocol": PROTOCOL, "Dagster-Pipes-Version": VERSION}
    count = session.chunk_count + ("miscounts" in defects)
    counted = {} if "counts_nothing" in defects else {"Dagster-Pipes-Chunk-Count": str(count)}
    return {**({} if "says_nothing" in defects else said), **counted}


def _refusal(status: int, code: str, message: str, defects: Collection[str]) -> Response:
    error = {"code": code} if "says_no_reason" in defects else {"code": code, "message": message}
    count = {} if code == "duplicate_call" else {"Dagster-Pipes-Chunk-Count": "0"}
    return status, {"Dagster-Pipes-Error": code, **count}, json.dumps({"error": error}).encode()
