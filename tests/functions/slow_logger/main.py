"""A function that logs lines at intervals, so that a test can kill it or Dagster meanwhile."""

from threading import Event, Lock
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

WRITER = PipesCloudStorageMessageWriter(flush_interval=0.02)  # about one line per chunk

never = Event()
failed: set[str] = set()
failed_lock = Lock()


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    """Log `count` lines, `interval` seconds apart; then raise at the first call with this `fails_once`."""
    event = request.get_json()
    for number in range(event["count"]):
        pipes.log.info(f"line {number}")
        never.wait(event["interval"])
    if (key := event.get("fails_once")) and _is_first(key):
        raise ConnectionError("the database is unavailable")
    return {}


def _is_first(key: str) -> bool:
    with failed_lock:
        first = key not in failed
        failed.add(key)
        return first
