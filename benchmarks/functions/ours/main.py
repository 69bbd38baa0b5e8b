"""The function's side of our implementation."""

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function

from benchmarks.functions import behaviours


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> dict[str, float]:
    """Run the behaviour that the event names."""
    return behaviours.run(pipes, request.get_json())
