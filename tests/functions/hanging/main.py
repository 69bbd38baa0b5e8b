"""A function that logs a line, which stays in the buffer, and never returns."""

from threading import Event
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

WRITER = PipesCloudStorageMessageWriter(flush_interval=5)


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    pipes.log.info("a buffered line")
    print("hanging", flush=True)
    Event().wait()
