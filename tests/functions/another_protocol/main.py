"""A function with a dagster-pipes of another version of the protocol than Dagster's."""

from typing import Any

import dagster_pipes
import flask

dagster_pipes.PIPES_PROTOCOL_VERSION = "0.0"  # what its messages bear

from gcf_pipes import pipes_function  # noqa: E402 - as if that version were installed


@pipes_function
def main(request: flask.Request, pipes: dagster_pipes.PipesContext) -> Any:
    pipes.log.info("hello from another version")
