"""What the tests of the fault proxy put behind it."""

import socket
import threading
from collections.abc import Iterator

import pytest

from local_stack.emulators import EMBEDDED, Emulator, run_emulator
from tests.faults.both_ends import RecordingServer


@pytest.fixture
def upstream() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def refused_url() -> Iterator[str]:
    """A URL that refuses connections: its port is bound, so that no other process can take it, but nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def embedded() -> Iterator[Emulator]:
    with run_emulator(EMBEDDED) as emulator:
        yield emulator
