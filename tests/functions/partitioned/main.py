"""A function of a partitioned asset. It returns what it knows of its partitions, and fails where the event says so."""

from threading import Event
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function

never = Event()


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    known = what_it_knows(pipes)
    key = known.get("partition_key")
    pipes.log.info(f"working on {key}")
    while key in event.get("endless", ()):
        pipes.log.info("still here")
        never.wait(0.05)
    for asset_key in event.get("reports", pipes.asset_keys):
        pipes.report_asset_materialization({"day": key, "size": len(str(key))}, f"version of {key}", asset_key)
    for check in event.get("checks", ()):
        passed = key not in event.get("bad", ())
        pipes.report_asset_check(check, passed=passed, asset_key=event.get("checked"), metadata={"day": key})
    pipes.report_custom_message({"did": key})
    if key in event.get("fails", ()):
        raise ValueError(f"no data for {key}")
    return known


def what_it_knows(pipes: PipesContext) -> dict[str, Any]:
    """Return what `pipes` tells about partitions."""
    if not pipes.is_partition_step:
        return {}
    keys = pipes.partition_key_range
    known = {"range": dict(keys), "window": pipes.partition_time_window, "extras": dict(pipes.extras)}
    return {**known, "partition_key": pipes.partition_key} if keys["start"] == keys["end"] else known
