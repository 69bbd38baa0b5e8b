"""Logs lines, and then reports a materialization or raises."""

from threading import Event
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

from tests.functions.record import recorded, with_records

WRITER = PipesCloudStorageMessageWriter(flush_interval=0.1)  # more chunks, and so more requests for faults

never = Event()


@with_records
@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    """Log `count` lines, `interval` seconds apart; then raise if `raises`, or return `status`."""
    event = request.get_json()
    with recorded(event["key"]) as record:
        for number in range(event["count"]):
            pipes.log.info(f"line {number}")
            record["lines"].append(f"line {number}")
            never.wait(event["interval"])
        if event["raises"]:
            raise ValueError("the event says so")
        pipes.report_asset_materialization(metadata={"lines": event["count"]})
        record["lines"].append(f"materialization after {event['count']} lines")
    return {}, event["status"]
