"""A function that computes a range, and reports the partitions that the event names one by one."""

from pathlib import Path
from threading import Event
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function, report_partition_materialization

never = Event()


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    for asset_key in event.get("whole", ()):
        pipes.report_asset_materialization(asset_key=asset_key, data_version="whole")
    for asset_key in event.get("assets", pipes.asset_keys):
        for number, partition in enumerate(event["partitions"]):
            while number == event.get("pauses_before") and Path(event["hold"]).exists():
                never.wait(0.05)
            report(pipes, partition, asset_key)
    pipes.report_custom_message({"did": len(event["partitions"])})
    if event.get("fails"):
        raise ConnectionError("the warehouse is away")
    return {"partitions": event["partitions"]}


def report(pipes: PipesContext, partition: str, asset_key: str) -> None:
    """Report a partition with metadata in each of the forms of Pipes."""
    metadata = {"day": partition, "note": {"raw_value": f"**{partition}**", "type": "md"}}
    report_partition_materialization(
        pipes,
        partition,
        metadata=metadata,  # type: ignore[arg-type]  # a TypedDict
        data_version=f"version of {partition}",
        asset_key=asset_key,
    )
