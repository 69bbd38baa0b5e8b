"""Both ends of a fault proxy, as its tests need them: a server behind it, and clients in front of it."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from local_stack.emulators import Emulator
from tests.faults import (
    Fault,
    FaultProxy,
)

TIMEOUT = 20.0
RETRY = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(10.0)


class RecordingServer(ThreadingHTTPServer):
    """Answers every request with its number and body, once it is allowed to, and remembers them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RecordingHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []
        self.arrived = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()


class RecordingHandler(BaseHTTPRequestHandler):
    server: RecordingServer

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append((self.command, self.path, dict(self.headers), body))
        number = len(self.server.received)
        self.server.arrived.release()
        self.server.may_answer.wait(TIMEOUT)
        answer = f"{number}:".encode() + body
        self.send_response(200)
        self.send_header("X-Number", str(number))
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_PATCH = do_POST = serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the proxy has cut off what was under way
            super().handle()


def post(url: str, body: bytes = b"hello", *, timeout: float = TIMEOUT) -> requests.Response:
    return requests.post(url, data=body, timeout=timeout)


@contextmanager
def storage_bucket(url: str, name: str = "some-bucket") -> Iterator[storage.Bucket]:
    options = {"api_endpoint": url}
    credentials = AnonymousCredentials()
    with closing(storage.Client(project="local", credentials=credentials, client_options=options)) as client:
        yield client.bucket(name)


@contextmanager
def proxied_bucket(emulator: Emulator, bucket: str, *faults: Fault) -> Iterator[tuple[storage.Bucket, FaultProxy]]:
    with FaultProxy(emulator.url, faults) as proxy, storage_bucket(proxy.url, bucket) as proxied:
        yield proxied, proxy


def kinds(proxy: FaultProxy) -> list[tuple[str, str | None, int | None]]:
    """What the log says, without the requests that the client sends on its own in the background."""
    return [(r.kind, r.object_name, r.status) for r in proxy.requests if r.kind != "bucket"]
