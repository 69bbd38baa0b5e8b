"""A function whose every message is a chunk of its own: `opened`, then the lines, then `closed`."""

from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

from tests.functions.record import record_of, recorded

# A line has about 110 bytes, so that two do not fit into a chunk, and no chunk leaves because of the time.
WRITER = PipesCloudStorageMessageWriter(flush_interval=5, max_chunk_bytes=120, upload_timeout=3)


def main(request: flask.Request) -> Any:
    """Write lines, or tell what was written for the key that is asked for."""
    event = request.get_json()
    return record_of(event["asked"]) if "asked" in event else write_lines(request)


@pipes_function(message_writer=WRITER)
def write_lines(request: flask.Request, pipes: PipesContext) -> Any:
    """Log each line."""
    event = request.get_json()
    with recorded(event["key"]) as record:
        for line in event["lines"]:
            pipes.log.info(line)
            record["lines"].append(line)
    return {"done": True}, event["status"]
