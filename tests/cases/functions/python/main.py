"""The function of the cases: the event names a task. The functions in other languages have the same tasks.

A task notes in the file `notes` of the event, if it names one, what happens in the function. A test that waits for
something in the function reads that file. A task that waits for a test waits until the file `gate` exists.
"""

import contextvars
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import flask
from dagster_pipes import DagsterPipesError, PipesContext
from gcf_pipes import (
    PipesCloudStorageMessageWriter,
    _cancellation,
    pipes_cancelled,
    pipes_function,
    report_partition_materialization,
)

_cancellation.POLL_INTERVAL = 0.2  # type: ignore[misc]  # a test waits for it
WRITER = PipesCloudStorageMessageWriter(flush_interval=0.05, heartbeat_interval=0.5)
LEVELS = ("debug", "info", "warning", "error", "critical")

never = threading.Event()


def note(event: dict[str, Any], text: str) -> None:
    """Note a line in the file of the event, if it names one."""
    if "notes" in event:
        with Path(event["notes"]).open("a") as notes:
            notes.write(f"{text}\n")


def wait_for_gate(event: dict[str, Any]) -> None:
    """Wait until the test creates the file of the event."""
    while not Path(event["gate"]).exists():
        never.wait(0.02)


# ---------------------------------------------------------------------------------------- the six tasks of conformance


def report(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Send a message of each kind."""
    for level in LEVELS:
        getattr(pipes.log, level)(f"conformance: {level.upper()}")
    key = pipes.asset_keys[0]
    pipes.report_asset_materialization(metadata_of_each_type(pipes, key), data_version="v1", asset_key=key)
    pipes.report_asset_check("conformance", passed=True, severity="WARN", asset_key=key)
    pipes.report_custom_message({"conformance": "custom"})
    return {"task": "report"}


def metadata_of_each_type(pipes: PipesContext, key: str) -> dict[str, Any]:
    """Return a metadata value of each type, by the type."""
    columns = [{"name": "rows", "type": "int", "description": "how many", "constraints": {"nullable": False}}]
    values = {
        "text": "some words",
        "url": "https://example.com/orders?day=1",
        "path": "/tmp/orders.parquet",
        "notebook": "/tmp/orders.ipynb",
        "json": {"nested": [1, None, {"deep": True}]},
        "md": "**bold**",
        "float": 1.5,
        "int": 3,
        "bool": True,
        "dagster_run": pipes.run_id,
        "asset": key,
        "null": None,
        "table": {"records": [{"rows": 3}, {"rows": 4}], "schema": columns},
        "table_schema": {"columns": columns},
        "table_column_lineage": {"deps_by_column": {"rows": [{"asset_key": key, "column_name": "id"}]}},
        "timestamp": 1704067200.0,
    }
    return {type_: {"raw_value": value, "type": type_} for type_, value in values.items()}


def echo(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Send and return the context."""
    of_asset, of_partition = pipes.is_asset_step, pipes.is_partition_step
    keys = pipes.partition_key_range if of_partition else None
    seen = {
        "event": {key: value for key, value in event.items() if not key.startswith("DAGSTER_PIPES_")},
        "extras": dict(pipes.extras),
        "run_id": pipes.run_id,
        "job_name": pipes.job_name,
        "retry_number": pipes.retry_number,
        "asset_keys": list(pipes.asset_keys) if of_asset else None,
        "partition_key": pipes.partition_key if keys and keys["start"] == keys["end"] else None,
        "partition_key_range": keys,
        "partition_time_window": pipes.partition_time_window if of_partition else None,
        "provenance_by_asset_key": pipes.provenance_by_asset_key if of_asset else None,
        "code_version_by_asset_key": pipes.code_version_by_asset_key if of_asset else None,
    }
    pipes.report_custom_message(seen)
    return seen


def fail(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Raise an exception with a cause."""
    pipes.log.info("conformance: before")
    raise ValueError("conformance failure") from LookupError("conformance cause")


def sleep(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Do nothing for a time, or until the run is cancelled."""
    for _ in range(int(event["seconds"] / 0.05)):
        if pipes_cancelled():
            break
        never.wait(0.05)
    pipes.log.info("conformance: slept")
    return {"task": "sleep"}


def burst(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log many lines."""
    for number in range(event["lines"]):
        pipes.log.info(f"{number} ".ljust(event["size"], "x"))
    return {"task": "burst"}


def status(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Respond with a status and a text."""
    pipes.log.info("conformance: status")
    return event["body"], event["status"], {"Content-Type": "text/plain; charset=utf-8"}


# ------------------------------------------------------------------------------------------------------------- messages


def materialize(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Report the materializations of the event; then fail if it says so."""
    for each in event["reports"]:
        pipes.report_asset_materialization(**each)
    for each in event.get("checks", ()):
        pipes.report_asset_check(**each)
    if event.get("fails"):
        raise ValueError("after all was reported")
    return {}


def partitions(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Report partitions one by one."""
    for key in event["partitions"]:
        report_partition_materialization(pipes, key, metadata={"day": key}, data_version=f"version of {key}")
    return {}


def custom(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Send the custom messages of the event."""
    for payload in event["payloads"]:
        pipes.report_custom_message(payload)
    return {}


def log(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log the lines of the event, each a level and a text."""
    for level, text in event["lines"]:
        getattr(pipes.log, level)(text)
    return {"logged": len(event["lines"])}


def large(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Send a custom message of a size, with a log line before it and after it."""
    pipes.log.info("before")
    pipes.report_custom_message({"letters": "x" * event["size"]})
    pipes.log.info("after")
    return {}


def at_once(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log from several threads at once."""

    def work(name: int) -> None:
        for number in range(event["lines"]):
            pipes.log.info(f"worker {name} line {number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(event["workers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {}


def prints(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Print the lines of the event to both streams."""
    for line in event["stdout"]:
        print(line)
    for line in event["stderr"]:
        print(line, file=sys.stderr)
    return {}


def lines(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log and report what belongs to one call, at the same time as others; then end as the event says."""
    for number in range(event["count"]):
        pipes.log.info(f"{event['tag']} {number}")
    pipes.report_custom_message(event["tag"])
    pipes.report_asset_materialization({"tag": event["tag"]})
    if event.get("fails"):
        raise ValueError(f"{event['tag']} fails")
    return {"tag": event["tag"]}


# ------------------------------------------------------------------------------------------------------------ responses


def respond(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Respond with a body of a kind."""
    match event["kind"]:
        case "letters":
            return "x" * event["size"], 200, {"Content-Type": "text/plain; charset=utf-8"}
        case "bytes":
            return bytes(range(256)), 200, {"Content-Type": "application/octet-stream"}
        case "empty":
            return "", 200
        case _:
            return None


# --------------------------------------------------------------------------------------------------------------- errors


def chain(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Raise an exception with many causes."""
    error: Exception | None = None
    for number in range(event["count"]):
        cause, error = error, ValueError(f"number {number}")
        error.__cause__ = cause
    assert error
    raise error


def long_error(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Raise an exception with a long text."""
    raise ValueError(f"the start {'x' * event['size']} the end")


def unserializable(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Send what JSON cannot express."""
    pipes.report_custom_message({"when": {1, 2, 3}})
    return {}


def nested(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Send a value of a depth, and return the error."""
    value: Any = "leaf"
    for _ in range(event["depth"]):
        value = [value]
    try:
        pipes.report_custom_message(value)
    except DagsterPipesError as error:
        return {"refused": str(error)}
    return {"refused": None}


def handles(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Handle an exception of its own."""
    try:
        int("no number")
    except ValueError as error:
        pipes.log.warning(f"went on after: {error}")
    return {"handled": True}


def fails_at_first(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Fail in the first call with these notes."""
    if Path(event["notes"]).read_text().count("started") == 1:
        raise ConnectionError("the source is away")
    pipes.report_asset_materialization({"retry": pipes.retry_number})
    return {}


# ----------------------------------------------------------------------------------------------------------------- ends


def waits(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log a line, wait for the gate, and log another one."""
    pipes.log.info("before")
    wait_for_gate(event)
    pipes.log.info("after")
    note(event, "ended")
    return {"waited": True}


def dies(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log a line, wait for the gate, and end the process as if the platform killed it."""
    pipes.log.info("before")
    wait_for_gate(event)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def loops(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Make Pipes calls until one fails, and note the error."""
    while True:
        try:
            pipes.log.info("still here")
        except DagsterPipesError as error:
            note(event, f"stopped by {type(error).__name__}")
            raise
        never.wait(0.05)


def watches(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Work without Pipes calls until the run is cancelled."""
    pipes.log.info("no more messages")
    while not pipes_cancelled():
        never.wait(0.05)
    note(event, "has seen the cancellation")
    return {}


def goes_on(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Ignore the cancellation until the gate opens, note the error of a Pipes call, and return as if all was well."""
    watches(pipes, event)
    wait_for_gate(event)
    try:
        pipes.log.info("ignored the cancellation")
    except DagsterPipesError as error:
        note(event, f"refused with {type(error).__name__}")
    note(event, "ended")
    return {}


def leaves_work(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Return while work goes on that logs when the gate opens, and note how that ends."""

    def work() -> None:
        wait_for_gate(event)
        try:
            pipes.log.info("after the end")
            note(event, "the line was taken")
        except DagsterPipesError:
            note(event, "the line was refused")

    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    return {"returned": True}


def closes_early(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Close the context by hand, and then end as the event says."""
    pipes.log.info("before the close")
    pipes.close()
    if event.get("fails"):
        raise ValueError("after the close")
    return {"closed": True}


TASKS = {
    task.__name__: task
    for task in (
        *(report, echo, fail, sleep, burst, status),
        *(materialize, partitions, custom, log, large, at_once, prints, lines),
        *(respond, chain, long_error, unserializable, nested, handles, fails_at_first),
        *(waits, dies, loops, watches, goes_on, leaves_work, closes_early),
    )
}


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    note(event, "started")
    return TASKS[event["task"]](pipes, event)
