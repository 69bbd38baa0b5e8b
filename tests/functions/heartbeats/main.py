"""A function that writes heartbeats: each half second, or as HEARTBEAT_INTERVAL says."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

WRITER = PipesCloudStorageMessageWriter(
    flush_interval=0.05, heartbeat_interval=float(os.environ.get("HEARTBEAT_INTERVAL", "0.5"))
)

never = threading.Event()


def waits(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Write no message for some seconds."""
    pipes.log.info("before")
    never.wait(event["seconds"])
    pipes.log.info("after")
    return {"waited": True}


def dies(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """End the process as if it ran out of memory, after its log line is stored."""
    pipes.log.info("before")
    never.wait(event["seconds"])
    HOW[event["how"]]()


HOW: dict[str, Callable[[], None]] = {
    "exits": lambda: os._exit(1),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stops": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return globals()[event["mode"]](pipes, event)
