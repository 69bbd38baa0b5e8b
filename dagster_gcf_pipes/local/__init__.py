"""Cloud functions and a Cloud Storage emulator on this machine, each in a process of its own.

Needs the extra `dagster-gcf-pipes[local]`. The command `dagster-gcf-pipes dev` runs both.
"""

from dagster_gcf_pipes.local._emulators import (
    EMBEDDED,
    FAKE_GCS_SERVER,
    Emulator,
    available_emulators,
    run_emulator,
    storage_client,
)
from dagster_gcf_pipes.local._functions import FunctionServer, run_function
from dagster_gcf_pipes.local._processes import ProcessError

__all__ = [
    "EMBEDDED",
    "FAKE_GCS_SERVER",
    "Emulator",
    "FunctionServer",
    "ProcessError",
    "available_emulators",
    "run_emulator",
    "run_function",
    "storage_client",
]

ProcessError.__module__ = __name__  # tracebacks name where to import it from
