"""The calls of `tests.many.events`, by the real runtime."""

import os
import signal
from collections import Counter
from threading import Event, Lock
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import (
    PipesCancelledError,
    PipesCloudStorageMessageWriter,
    _cancellation,
    pipes_cancelled,
    pipes_function,
)

from tests.many.events import InstanceDiedError, Steps, key_of, run

_cancellation.POLL_INTERVAL = 0.2  # type: ignore[misc]  # a test waits for it
WRITER = PipesCloudStorageMessageWriter(heartbeat_interval=float(os.environ["HEARTBEAT_INTERVAL"]))

executions: Counter[str] = Counter()
lock = Lock()
never = Event()


def take(steps: Steps) -> tuple[Any, int]:
    """Take the steps, and wait between them until the run is cancelled."""
    try:
        seconds = next(steps)
        while True:
            while seconds > 0 and not pipes_cancelled():
                never.wait(min(seconds, 0.05))
                seconds -= 0.05
            seconds = steps.throw(PipesCancelledError("cancelled")) if pipes_cancelled() else next(steps)
    except StopIteration as end:
        response: tuple[Any, int] = end.value
        return response


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    key = key_of(event, pipes)
    with lock:
        executions[key] += 1
        execution = executions[key]
    try:
        return take(run(event, pipes, execution))
    except InstanceDiedError:
        os.kill(os.getpid(), signal.SIGKILL)
