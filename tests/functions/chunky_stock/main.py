"""The function `chunky` with the parts that come with Dagster, as their documentation puts them together.

Source: https://docs.dagster.io/concepts/dagster-pipes/dagster-pipes-details-and-customization (the external process).
"""

from threading import Event
from typing import Any, Final

import flask
from dagster_pipes import PipesGCSMessageWriter, PipesMappingParamsLoader, open_dagster_pipes
from google.cloud import storage

from tests.functions.record import record_of, recorded

INTERVAL: Final = 0
"""The writer looks once a second whether more than so many whole seconds have passed; its default is 10."""
PAUSE: Final = 1.5
"""Seconds between two messages, so that each is a chunk of its own although the writer uploads once a second."""

never = Event()


def main(request: flask.Request) -> Any:
    """Write lines, or tell what was written for the key that is asked for."""
    event = request.get_json()
    return record_of(event["asked"]) if "asked" in event else write_lines(event)


def write_lines(event: dict[str, Any]) -> Any:
    """Log each line."""
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
