"""A function built on gcf_pipes that reports what the event says, and returns what it knows of its step."""

from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    for materialization in event.get("materializations", ()):
        pipes.report_asset_materialization(**materialization)
    for check in event.get("checks", ()):
        pipes.report_asset_check(**check)
    if event.get("fails"):
        raise ValueError("after all was reported")
    answer: dict[str, Any] = {}
    if pipes.is_asset_step:
        answer |= {"asset_keys": list(pipes.asset_keys), "provenance": pipes.provenance_by_asset_key}
    if event.get("one_asset"):
        answer |= {"asset_key": pipes.asset_key, "code_version": pipes.code_version}
    if event.get("query"):
        answer |= {"query": request.query_string.decode()}
    return answer
