"""A function with Dagster's own parts in place of gcf_pipes, and a context for each request."""

from typing import Any

import flask
from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesGCSContextLoader,
    PipesGCSMessageWriter,
    PipesMappingParamsLoader,
)
from google.cloud import storage


def main(request: flask.Request) -> Any:
    event = request.get_json()
    client = storage.Client(project="local")
    params_loader = PipesMappingParamsLoader(event)
    inline = PipesDefaultContextLoader.DIRECT_KEY in params_loader.load_context_params()
    loader = PipesDefaultContextLoader() if inline else PipesGCSContextLoader(client)
    with PipesContext(params_loader, loader, PipesGCSMessageWriter(client, interval=1)) as pipes:
        for number in range(event["count"]):
            pipes.log.info(f"stock {number}")
        if event.get("raise"):
            raise ValueError("stock error")
        if pipes.is_asset_step:
            pipes.report_asset_materialization(metadata={"extras": {"raw_value": dict(pipes.extras), "type": "json"}})
    return {"stock": True}
