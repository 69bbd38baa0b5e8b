"""The function's side of stock.

The documented `open_dagster_pipes` gives one context to a whole process: a warm instance gets the closed one of its
first request (dagster-io/dagster#22094). To have something to measure, this function builds a context for each request,
which favours stock, unless the event asks for `open_dagster_pipes`.
"""

from functools import cache

import flask
from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesGCSMessageWriter,
    PipesMappingParamsLoader,
    open_dagster_pipes,
)
from google.cloud import storage

from benchmarks.functions import behaviours


@cache
def storage_client() -> storage.Client:
    """The process's Cloud Storage client."""
    return storage.Client()


def open_pipes(request: flask.Request) -> PipesContext:
    """Open the context of a request, or the only one of the process."""
    event = request.get_json()
    params_loader = PipesMappingParamsLoader(event)
    options = {"interval": event["writer_interval"]} if "writer_interval" in event else {}
    writer = PipesGCSMessageWriter(storage_client(), **options)
    if event.get("open_dagster_pipes"):
        return open_dagster_pipes(params_loader=params_loader, message_writer=writer)
    return PipesContext(params_loader, PipesDefaultContextLoader(), writer)


def main(request: flask.Request) -> dict[str, float]:
    """Run the behaviour that the event names."""
    with open_pipes(request) as pipes:
        return behaviours.run(pipes, request.get_json())
