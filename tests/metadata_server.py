"""A stand-in of Google Cloud's metadata server, as much of it as an instance asks for its own facts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def run_metadata_server(values: Mapping[str, str]) -> Iterator[str]:
    """Serve values by their paths below `/computeMetadata/v1/` while the block runs; give its host and port.

    As the real one, it refuses a request without `Metadata-Flavor: Google` and tells 404 for what it does not have.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            value = values.get(self.path.removeprefix("/computeMetadata/v1/"))
            allowed = self.headers.get("Metadata-Flavor") == "Google"
            self._answer(403 if not allowed else 404 if value is None else 200, value or "no such thing")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
