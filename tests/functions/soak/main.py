"""A function for the soak: it logs lines, and then reports a materialization or raises."""

from threading import Event
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

from tests.functions.record import record_of, recorded

WRITER = PipesCloudStorageMessageWriter(flush_interval=0.1)  # more chunks, and so more requests that meet faults

never = Event()


def main(request: flask.Request) -> Any:
    """Work, or tell what was done for the key that is asked for."""
    event = request.get_json()
    return record_of(event["asked"]) if "asked" in event else work(request)


@pipes_function(message_writer=WRITER)
def work(request: flask.Request, pipes: PipesContext) -> Any:
    """Log `count` lines, `interval` seconds apart; then raise if `raises` says so, or return `status`."""
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
