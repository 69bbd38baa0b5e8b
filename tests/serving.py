"""Serves WSGI applications, such as Flask apps, on free ports of this machine."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@contextmanager
def serving(app: "WSGIApplication", context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve an application in threads while the block runs, with TLS if there is a context; yield its port."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler, ssl_context=context)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="stand-in", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietHandler(WSGIRequestHandler):
    def send_response(self, code: int, message: str | None = None) -> None:
        """Leave the time to the application: the base class would send it a second time."""
        self.send_response_only(code, message)

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing on stderr."""
