"""A function whose every message is a chunk of its own: `opened`, then the lines, then `closed`."""

from threading import Lock
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

# A line has about 110 bytes, so that two do not fit into a chunk, and no chunk leaves because of the time.
WRITER = PipesCloudStorageMessageWriter(flush_interval=5, max_chunk_bytes=120, upload_timeout=3)

executions: dict[str, int] = {}
executions_lock = Lock()


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    """Log lines and count the execution, or tell how often that was done for a key."""
    event = request.get_json()
    if not event["lines"]:
        return {"executions": executions.get(event["key"], 0)}
    with executions_lock:
        executions[event["key"]] = executions.get(event["key"], 0) + 1
    for number in range(event["lines"]):
        pipes.log.info(f"line {number}")
    return {"done": True}
