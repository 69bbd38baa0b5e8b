"""The same function with Dagster's own parts.

A context for each request, in place of the documented `open_dagster_pipes`, favours stock: that one serves only the
first request of a process (dagster-io/dagster#22094).
"""

import flask
from dagster_pipes import PipesContext, PipesDefaultContextLoader, PipesGCSMessageWriter, PipesMappingParamsLoader
from google.cloud import storage

from tests.functions.executions import execute

INTERVAL = 0
"""Whole seconds between two uploads, by default 10. The writer checks once a second."""


def main(request: flask.Request) -> dict[str, str]:
    event = request.get_json()
    writer = PipesGCSMessageWriter(client=storage.Client(project="local"), interval=INTERVAL)
    with PipesContext(PipesMappingParamsLoader(event), PipesDefaultContextLoader(), writer) as pipes:
        execute(pipes, event)
    return {}
