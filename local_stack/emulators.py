"""The Cloud Storage emulators, and what each of them can do."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from local_stack.processes import ProcessError, python_command, run_process

EMBEDDED = "gcp-storage-emulator"
FAKE_GCS_SERVER = "fake-gcs-server"
_PORT_TRIES = 5


@dataclass(frozen=True)
class Emulator:
    """A running emulator.

    Attributes:
        name: The emulator's name.
        url: What `STORAGE_EMULATOR_HOST` is set to.
        honours_preconditions: Whether `if_generation_match` has its effect. Where it has not, a call that is
            delivered twice runs twice.
    """

    name: str
    url: str
    honours_preconditions: bool


def available_emulators() -> list[str]:
    """The names of the emulators that can be started on this machine, the preferred one first."""
    return [FAKE_GCS_SERVER, EMBEDDED] if shutil.which(FAKE_GCS_SERVER) else [EMBEDDED]


@contextmanager
def run_emulator(name: str) -> Iterator[Emulator]:
    """Run an emulator on a free port while the block runs.

    Raises:
        ProcessError: It did not start.
    """
    run = _run_fake_gcs_server if name == FAKE_GCS_SERVER else _run_embedded
    with run() as emulator:
        yield emulator


@contextmanager
def _run_embedded() -> Iterator[Emulator]:
    command = python_command("-m", "local_stack.embedded_emulator")
    with run_process(command, ready=r"listening at (http://\S+)") as child:
        yield Emulator(EMBEDDED, child.ready, honours_preconditions=False)


@contextmanager
def _run_fake_gcs_server() -> Iterator[Emulator]:
    with ExitStack() as stack:
        port = _start_fake_gcs_server(stack)
        yield Emulator(FAKE_GCS_SERVER, f"http://127.0.0.1:{port}", honours_preconditions=True)


def _start_fake_gcs_server(stack: ExitStack) -> int:
    """Start it on a port that was free a moment ago: it does not tell which port it got when it is asked to choose."""
    for _ in range(_PORT_TRIES - 1):
        with suppress(ProcessError):
            return _start_fake_gcs_server_at(free_port(), stack)
    return _start_fake_gcs_server_at(free_port(), stack)


def _start_fake_gcs_server_at(port: int, stack: ExitStack) -> int:
    address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command = [FAKE_GCS_SERVER, "-backend", "memory", *address]
    stack.enter_context(run_process(command, ready=r"server started at (http\S+)"))
    return port


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
