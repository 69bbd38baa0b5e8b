"""A function without our runtime: it opens a Pipes session by hand, with our writer, and responds with any status."""

import threading
from typing import Any

import flask
from dagster_pipes import PipesContext, PipesMappingParamsLoader, open_dagster_pipes
from gcf_pipes import PipesCloudFunctionContextLoader, PipesCloudStorageMessageWriter

never = threading.Event()


def main(request: flask.Request) -> Any:
    event = request.get_json()
    context = open_dagster_pipes(
        params_loader=PipesMappingParamsLoader(event),
        context_loader=PipesCloudFunctionContextLoader(),
        message_writer=PipesCloudStorageMessageWriter(flush_interval=0, heartbeat_interval=0.5),
    )
    PipesContext._instance = None  # noqa: SLF001 - `open_dagster_pipes` keeps one context for the whole process
    return globals()[event["mode"]](context, event)


def answers(context: PipesContext, event: dict[str, Any]) -> Any:
    """Report results, close the session, and respond with a status."""
    with context as pipes:
        pipes.log.info("a line")
        pipes.report_asset_materialization(metadata={"rows": 3})
    return "chosen by the function", event["status"]


def writes_on(context: PipesContext, event: dict[str, Any]) -> Any:
    """Respond, and keep on writing."""

    def write() -> None:
        while not never.wait(0.1):
            context.log.info("still here")

    threading.Thread(target=write, daemon=True).start()
    return "not done", event["status"]
