"""The Cloud Storage emulators."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster_gcf_pipes.local._processes import python_command, run_on_free_port, run_process

if TYPE_CHECKING:
    from google.cloud import storage

EMBEDDED = "gcp-storage-emulator"
FAKE_GCS_SERVER = "fake-gcs-server"


@dataclass(frozen=True)
class Emulator:
    """A running emulator.

    Attributes:
        name: The emulator's name.
        url: The value for `STORAGE_EMULATOR_HOST`.
        honours_preconditions: Whether `if_generation_match` works. Otherwise a call that is delivered twice runs twice.
    """

    name: str
    url: str
    honours_preconditions: bool


def available_emulators() -> list[str]:
    """The names of the emulators on this machine, the preferred one first."""
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


def storage_client(url: str) -> "storage.Client":
    """Return a Cloud Storage client of an emulator, whatever the environment says."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client("local", AnonymousCredentials(), client_options={"api_endpoint": url})


@contextmanager
def _run_embedded() -> Iterator[Emulator]:
    command = python_command("-m", "dagster_gcf_pipes.local._embedded_emulator")
    with run_process(command, ready=r"listening at (http://\S+)") as child:
        yield Emulator(EMBEDDED, child.ready, honours_preconditions=False)


@contextmanager
def _run_fake_gcs_server() -> Iterator[Emulator]:
    with run_on_free_port(_run_fake_gcs_server_at) as emulator:
        yield emulator


@contextmanager
def _run_fake_gcs_server_at(port: int) -> Iterator[Emulator]:
    """Run it on a given port: asked to choose one, it does not print which."""
    address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    with run_process([FAKE_GCS_SERVER, "-backend", "memory", *address], ready=r"server started at (http\S+)"):
        yield Emulator(FAKE_GCS_SERVER, f"http://127.0.0.1:{port}", honours_preconditions=True)
