"""A function whose behavior the event chooses by name."""

import os
import signal
import sys
import threading
import time
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_cancelled, pipes_function
from google.cloud import storage

GATE_TIMEOUT = 30.0
executions: dict[str, int] = {}
executions_lock = threading.Lock()
ended = threading.Event()


def ok(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.log.info("hello from the function")
    return {"ok": True}


def echo(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Return the context as the function sees it."""
    return {
        "event": sorted(event),
        "asset_keys": list(pipes.asset_keys) if pipes.is_asset_step else None,
        "partition_key": pipes.partition_key if pipes.is_partition_step else None,
        "run_id": pipes.run_id,
        "job_name": pipes.job_name,
        "extras_size": len(str(dict(pipes.extras))),
        "extras": dict(pipes.extras) if len(str(dict(pipes.extras))) < 1000 else None,
    }


def levels(pipes: PipesContext, event: dict[str, Any]) -> Any:
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(pipes.log, level)(f"a line at {level}")
    return {}


def materialize(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.report_asset_materialization(
        metadata={"rows": 3, "preview": {"raw_value": "**bold**", "type": "md"}}, data_version="v1"
    )
    pipes.report_asset_check("not_empty", passed=True, metadata={"rows": 3})
    pipes.report_asset_check("fresh", passed=False, severity="WARN")
    pipes.report_custom_message({"table": "orders", "rows": 3})
    return {"rows": 3}


def materialize_and_raise(pipes: PipesContext, event: dict[str, Any]) -> Any:
    materialize(pipes, event)
    raise ValueError("after all was reported")


def materialize_all(pipes: PipesContext, event: dict[str, Any]) -> Any:
    for asset_key in pipes.asset_keys:
        pipes.report_asset_materialization(asset_key=asset_key, metadata={"key": asset_key})
    return {}


def lines(pipes: PipesContext, event: dict[str, Any]) -> Any:
    for number in range(event["count"]):
        pipes.log.info(f"{event['tag']} {number}")
    return {"tag": event["tag"]}


def burst(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log lines as fast as possible: 50 of one level, then 50 of the next; and a custom message after each 1,000."""
    levels = ("debug", "info", "warning", "error", "critical")
    for number in range(event["count"]):
        getattr(pipes.log, levels[number // 50 % 5])(f"{number}")
        if number % 1000 == 999:
            pipes.report_custom_message(number)
    return {}


def gated(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log a line, and return when a reader of it has created the gate object."""
    pipes.log.info("waiting at the gate")
    gate = storage.Client(project="local").bucket(event["bucket"]).blob("gate")
    deadline = time.monotonic() + GATE_TIMEOUT
    while not gate.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody opened the gate")
    return {}


def raises(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.log.info("about to raise")
    try:
        event["the inner cause"]
    except KeyError as error:
        raise ValueError("the table is broken") from error


def exits(pipes: PipesContext, event: dict[str, Any]) -> Any:
    sys.exit("stopped by sys.exit")


def aborts(pipes: PipesContext, event: dict[str, Any]) -> Any:
    flask.abort(418, "no coffee here")


def returns_none(pipes: PipesContext, event: dict[str, Any]) -> Any:
    return None


def returns_nonsense(pipes: PipesContext, event: dict[str, Any]) -> Any:
    return object()


def returns_stream(pipes: PipesContext, event: dict[str, Any]) -> Any:
    def stream() -> Any:
        pipes.log.info("from inside the stream")
        yield "streamed"

    return flask.Response(stream())


def answers_500(pipes: PipesContext, event: dict[str, Any]) -> Any:
    return {"reason": "chosen by the function"}, 500


def custom_not_serializable(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.report_custom_message({"when": object()})
    return {}


def from_threads(pipes: PipesContext, event: dict[str, Any]) -> Any:
    def log(thread: int) -> None:
        for number in range(event["count"]):
            pipes.log.info(f"{thread} {number}")

    threads = [threading.Thread(target=log, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {}


def counted(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Count the executions for one key of the event."""
    with executions_lock:
        executions[event["key"]] = executions.get(event["key"], 0) + 1
    return {"executions": executions[event["key"]]}


def loops_with_messages(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Make Pipes calls until one raises."""
    while True:
        pipes.log.info("still here")
        ended.wait(0.1)


def loops_without_messages(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Work without a Pipes call until the run is cancelled."""
    pipes.log.info("no more messages")
    while not pipes_cancelled():
        ended.wait(0.1)
    print("the loop has seen the cancellation", flush=True)
    return {}


def waits(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Work for some seconds without a Pipes call."""
    pipes.log.info("a long computation")
    ended.wait(event["seconds"])
    return {}


def dies(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """End the process as if the platform killed it."""
    pipes.log.info("loading everything at once")
    os.kill(os.getpid(), signal.SIGKILL)


def dies_later(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Let the line arrive before the process ends."""
    pipes.log.info("loading everything bit by bit")
    ended.wait(1)
    os.kill(os.getpid(), signal.SIGKILL)


def threads(pipes: PipesContext, event: dict[str, Any]) -> Any:
    return {"threads": sorted(thread.name for thread in threading.enumerate())}


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return globals()[event["mode"]](pipes, event)
