"""A function that stores each message as a chunk of its own: `opened`, then the lines, then `closed`."""

from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

from tests.functions.record import recorded, with_records

# A line has about 110 bytes: two do not fit into a chunk. No chunk is stored because of the time.
WRITER = PipesCloudStorageMessageWriter(flush_interval=5, max_chunk_bytes=120, upload_timeout=3)


@with_records
@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    """Log each line."""
    event = request.get_json()
    with recorded(event["key"]) as record:
        for line in event["lines"]:
            pipes.log.info(line)
            record["lines"].append(line)
    return {"done": True}, event["status"]
