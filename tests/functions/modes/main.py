"""A function whose behaviour the event chooses."""

from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function


def ok(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.log.info("hello")
    return {"ok": True}


MODES = {"ok": ok}


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return MODES[event["mode"]](pipes, event)
