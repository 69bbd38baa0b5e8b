"""A run worker: the process that `dagster api execute_run` and `dagster api resume_run` are.

It is forked from a server that has imported Dagster, because the import takes seconds.
"""

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dagster._cli import api
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import serialize_value

from tests.evict import boundaries, jobs  # noqa: F401 - the server imports the jobs once

Command = Literal["execute_run", "resume_run"]


def work(command: Command, arguments: ExecuteRunArgs | ResumeRunArgs, env: Mapping[str, str], output: Path) -> None:
    """Run the command in a process group of its own, and write what it prints to a file."""
    os.setsid()
    with output.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.update(env)
    gc.freeze()  # a collection would go through all that the server has imported
    boundaries.install()
    commands = {"execute_run": api.execute_run_command, "resume_run": api.resume_run_command}
    commands[command].main([serialize_value(arguments)], standalone_mode=True)
