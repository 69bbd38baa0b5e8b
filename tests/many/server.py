"""The process of the simulated platform: `python -m tests.many.server OPTIONS`, with the options as JSON.

One event loop serves the storage and the function, so that both together take little of the machine's CPU.
"""

import asyncio
import gc
import json
import logging
import os
import resource
import socket
import sys
import time
from http import HTTPStatus
from typing import Any

import uvicorn
from gcf_pipes._shared.storage import EMULATOR_VARIABLE
from gcf_pipes._stdio import remember_streams
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.many.figures import Figures, WireRequest
from tests.many.function import SimulatedFunction
from tests.many.http_messages import Headers, Request, Response, json_response
from tests.many.options import Options
from tests.many.storage_api import StorageApi

BACKLOG = 4096
KEEP_ALIVE = 600
"""Seconds that a connection may be idle. Source: https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries
("client HTTP keepalive timeout", 610 seconds).
"""
STORAGE_PATHS = ("/storage/", "/upload/", "/download/", "/batch/")


class SimulatedPlatform:
    """The ASGI application. All paths that are not the storage's are the function's."""

    def __init__(self, url: str, options: Options) -> None:
        self._options = options
        self._api = StorageApi(url)
        self._reset()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        body = bytearray()
        more = True
        while more:
            message: Any = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        request = Request(
            scope["method"],
            scope["raw_path"].decode(),
            scope["query_string"].decode(),
            Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
            bytes(body),
        )
        response = await self._respond(request)
        headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        if response.status != HTTPStatus.NO_CONTENT:
            headers.append((b"Content-Length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": response.body, "more_body": False})

    def count_connection(self) -> None:
        self._figures.connections += 1

    async def _respond(self, request: Request) -> Response:
        if request.path.startswith(STORAGE_PATHS):
            return await self._respond_as_storage(request)
        if request.path == "/_stats":
            self._figures.cpu_seconds = time.process_time() - self._cpu_before
            return json_response(vars(self._figures))
        if request.path == "/_reset":
            self._reset()
            return Response(204)
        return await self._function.respond(request)

    async def _respond_as_storage(self, request: Request) -> Response:
        operation = self._api.operation(request)
        self._figures.requests.append(WireRequest(time.monotonic(), operation.kind, operation.name))
        if self._options.storage_latency:
            await asyncio.sleep(self._options.storage_latency)
        return operation.perform()

    def _reset(self) -> None:
        self._figures = Figures()
        self._function = SimulatedFunction(self._api, self._options, self._figures)
        self._cpu_before = time.process_time()


def main() -> None:
    """Serve until the process is killed."""
    _save_time()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    os.environ[EMULATOR_VARIABLE] = url
    platform = SimulatedPlatform(url, Options(**json.loads(sys.argv[1])))

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            platform.count_connection()
            super().connection_made(transport)

    config = uvicorn.Config(
        platform,
        http=Protocol,
        loop="uvloop",
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="error",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
    )
    print(f"listening at {url}", flush=True)  # the kernel queues connections from now on
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what calls print goes to Dagster alone
    remember_streams()
    uvicorn.Server(config).run(sockets=[listener])


def _save_time() -> None:
    """Collect garbage rarely, and leave out of log records what nobody reads.

    Source: https://docs.python.org/3/howto/logging.html#optimization.
    """
    gc.set_threshold(100_000, 20, 100)
    logging._srcfile = None  # noqa: SLF001 - as the source says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


if __name__ == "__main__":
    main()
