"""A function that works with each version of `gcf_pipes`: it uses nothing new."""

import threading
import uuid
from typing import Any

import flask
import gcf_pipes
from dagster_pipes import PipesContext
from gcf_pipes import PipesCancelledError, pipes_function
from google.cloud import storage

never = threading.Event()


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    objects = storage.Client(project="local").bucket(event["bucket"])
    objects.blob(f"executions/{event['case']}/{uuid.uuid4().hex}").upload_from_string(gcf_pipes.__file__)
    return globals()[event.get("mode", "reports")](pipes, objects)


def reports(pipes: PipesContext, objects: storage.Bucket) -> Any:
    print("printed by the function")
    pipes.log.info("logged by the function")
    pipes.report_asset_materialization(metadata={"extras": len(str(dict(pipes.extras)))}, data_version="v1")
    return {"done": True}


def raises(pipes: PipesContext, objects: storage.Bucket) -> Any:
    raise ValueError("the table is broken")


def loops(pipes: PipesContext, objects: storage.Bucket) -> Any:
    try:
        while True:
            pipes.log.info("still here")
            never.wait(0.5)
    except PipesCancelledError:
        objects.blob("cancelled").upload_from_string("")
        raise
