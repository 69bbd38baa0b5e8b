"""The servers that the tests of the fault proxy put behind it."""

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
def embedded() -> Iterator[Emulator]:
    with run_emulator(EMBEDDED) as emulator:
        yield emulator
