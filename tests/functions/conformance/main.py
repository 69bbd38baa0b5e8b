"""The six tasks of the conformance test, as docs/protocol.md describes them."""

import threading
import time
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_cancelled, pipes_function

from tests.functions.conformance.metadata import METADATA

LEVELS = ("debug", "info", "warning", "error", "critical")
BOOTSTRAP_KEYS = ("DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES")
POLL_INTERVAL = 0.1
never = threading.Event()


def report(request: flask.Request, pipes: PipesContext, event: dict[str, Any]) -> Any:
    for level in LEVELS:
        getattr(pipes.log, level)(f"conformance: {level.upper()}")
    asset_key = pipes.asset_keys[0]
    metadata: Any = {name: {"raw_value": value, "type": name} for name, value in METADATA.items()}
    pipes.report_asset_materialization(asset_key=asset_key, metadata=metadata, data_version="v1")
    pipes.report_asset_check("conformance", passed=True, severity="WARN", asset_key=asset_key)
    pipes.report_custom_message({"conformance": "custom"})
    return {"task": "report"}


def echo(request: flask.Request, pipes: PipesContext, event: dict[str, Any]) -> Any:
    if "print" in event:
        print(event["print"])
    context = dict(pipes._data)  # noqa: SLF001 - its properties raise for what is missing
    seen = {"event": {key: value for key, value in event.items() if key not in BOOTSTRAP_KEYS}, **context}
    pipes.report_custom_message(seen)
    return seen


def fail(request: flask.Request, pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.log.info("conformance: before")
    try:
        event["conformance cause"]
    except KeyError as cause:
        raise ValueError("conformance failure") from cause


def sleep(request: flask.Request, pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Wait, but not when the run is terminated, and not into the time that is kept for the last messages."""
    allowed = 0.9 * int(request.headers["Dagster-Pipes-Timeout"])
    until = time.monotonic() + min(event["seconds"], allowed)
    while time.monotonic() < until and not pipes_cancelled():
        never.wait(POLL_INTERVAL)
    pipes.log.info("conformance: slept")
    return {}


def burst(request: flask.Request, pipes: PipesContext, event: dict[str, Any]) -> Any:
    for number in range(event["lines"]):
        pipes.log.info(f"{number} ".ljust(event["size"], "x"))
    return {}


def status(request: flask.Request, pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.log.info("conformance: status")
    return event["body"], event["status"]


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return globals()[event["task"]](request, pipes, event)
