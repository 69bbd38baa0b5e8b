"""A function whose caller is killed."""

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

from tests.functions.executions import execute

WRITER = PipesCloudStorageMessageWriter(flush_interval=0.1, heartbeat_interval=1)  # a heartbeat in each long pause


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> None:
    execute(pipes, request.get_json())
