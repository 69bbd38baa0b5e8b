"""A function that notes each of its executions in a folder, and waits there for the test."""

import os
from pathlib import Path
from threading import Event
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_cancelled, pipes_function

WRITER = PipesCloudStorageMessageWriter(flush_interval=0.02, heartbeat_interval=0.2)

never = Event()


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    """Note the execution; run while `hold` exists; then end the process if `dies` exists, or raise if `fails` does."""
    event = request.get_json()
    folder = Path(event["folder"])
    with (folder / "executions").open("a") as executions:
        executions.write(f"{event.get('name', '')}\n")
    pipes.log.info("line 0")
    for number in range(event.get("burst", 0)):
        pipes.log.info(f"burst {number}")
    while (folder / "hold").exists() and not pipes_cancelled():
        never.wait(0.05)
    if (folder / "dies").exists():
        os._exit(1)
    if (folder / "fails").exists():
        raise ValueError("no orders")
    pipes.log.info("line 1")
    pipes.report_custom_message({"rows": 2})
    if pipes.is_asset_step:
        pipes.report_asset_materialization(metadata={"rows": 2}, data_version="v1")
    if event.get("check"):
        failing = folder / "check_fails"
        pipes.report_asset_check(event["check"], passed=not failing.exists(), severity="ERROR")
        failing.unlink(missing_ok=True)
    return {"rows": 2}
