"""A function that takes memory and CPU as the event says, in a container of its own on request."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, _execution, pipes_function
from gcf_pipes._usage import Container

MIB = 1024 * 1024
both = threading.Barrier(2)

if root := os.environ.get("CONTAINER_ROOT"):
    setattr(_execution, "Container", functools.partial(Container, Path(root)))  # noqa: B010 - not exported


def uses(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Take memory, give it back, and use the CPU."""
    taken = b"1" * (event.get("mib", 0) * MIB)
    if event.get("together"):
        both.wait(30)
    del taken
    until = time.process_time() + event.get("cpu_seconds", 0)
    while time.process_time() < until:
        pass
    return {}


def raises(pipes: PipesContext, event: dict[str, Any]) -> Any:
    uses(pipes, event)
    raise ValueError("after all was used")


def starts_a_process(pipes: PipesContext, event: dict[str, Any]) -> Any:
    code = f"import time\nwhile time.process_time() < {event['cpu_seconds']}: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    return {}


def dies(pipes: PipesContext, event: dict[str, Any]) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


@pipes_function(message_writer=PipesCloudStorageMessageWriter(heartbeat_interval=0.5))
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return globals()[event["mode"]](pipes, event)
