"""`tests/functions/one_message_per_chunk` with Dagster's own parts, as their documentation puts them together.

Source: https://docs.dagster.io/concepts/dagster-pipes/dagster-pipes-details-and-customization (the external process).
"""

from threading import Event
from typing import Any, Final

import flask
from dagster_pipes import PipesGCSMessageWriter, PipesMappingParamsLoader, open_dagster_pipes
from google.cloud import storage

from tests.functions.record import recorded, with_records

INTERVAL: Final = 0
"""Whole seconds between two uploads, by default 10. The writer checks once a second."""
PAUSE: Final = 1.5
"""Seconds between two messages, so that each is a chunk of its own although the writer uploads once a second."""

never = Event()


@with_records
def main(request: flask.Request) -> Any:
    """Log each line."""
    event = request.get_json()
    writer = PipesGCSMessageWriter(client=storage.Client(project="local"), interval=INTERVAL)
    with (
        open_dagster_pipes(params_loader=PipesMappingParamsLoader(event), message_writer=writer) as pipes,
        recorded(event["key"]) as record,
    ):
        never.wait(PAUSE)
        for line in event["lines"]:
            pipes.log.info(line)
            record["lines"].append(line)
            never.wait(PAUSE)
    return {"done": True}, event["status"]
