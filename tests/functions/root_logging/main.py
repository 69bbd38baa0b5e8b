"""A function that sends all that is logged to Dagster: it gives the root logger the handler of `pipes.log`."""

import logging
import threading
from typing import Any

import flask
from dagster_pipes import DagsterPipesError, PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

MIB = 1024 * 1024
WRITER = PipesCloudStorageMessageWriter(max_buffer_bytes=MIB, max_chunk_bytes=MIB)

logging.basicConfig()
root = logging.getLogger()
ended: list[PipesContext] = []


def ok(pipes: PipesContext, event: dict[str, Any]) -> Any:
    logging.info("a line of the second run")
    return {"ok": True}


def leaves_handler(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Add the handler, and never remove it."""
    root.addHandler(pipes.log.handlers[0])
    root.setLevel(event["level"])
    logging.info("a line of the first run")
    ended.append(pipes)
    return {}


def floods(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log far more than the buffer holds, from two threads, while the uploads log too."""
    root.addHandler(pipes.log.handlers[0])
    root.setLevel(logging.DEBUG)

    def log() -> None:
        for number in range(event["count"]):
            logging.info("%d %s", number, "x" * (MIB // 4))

    threads = [threading.Thread(target=log) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {}


def logs_after_the_end(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log with the context of the call before."""
    logging.info("on another logger")
    try:
        ended[-1].log.info("directly")
    except DagsterPipesError as error:
        return {"error": str(error)}
    return {}


def colours(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log with a filter that colours the names of the levels."""

    def colour(record: logging.LogRecord) -> bool:
        record.levelname = f"\033[31m{record.levelname}\033[0m"
        return True

    pipes.log.addFilter(colour)
    for level in (logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.ERROR, logging.CRITICAL, 60):
        pipes.log.log(level, "at %d", level)
    return {}


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return globals()[event["mode"]](pipes, event)
