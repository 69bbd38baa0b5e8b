"""Serves the embedded Cloud Storage emulator on a free port: `python -m dagster_gcf_pipes.local._embedded_emulator`.

The package's own command does not print its port, and its listen queue of 5 is too short for several clients.
"""

from functools import partial
from http.server import HTTPServer

from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage


class EmulatorServer(HTTPServer):
    """One request at a time: the emulator's storage is not safe for threads."""

    request_queue_size = 128


def main() -> None:
    """Serve until the process is terminated."""
    with EmulatorServer(("127.0.0.1", 0), partial(RequestHandler, Storage(use_memory_fs=True))) as server:
        print(f"emulator listening at http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
