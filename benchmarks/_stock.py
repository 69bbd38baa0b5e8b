"""Dagster's side of the stock implementation."""

from collections.abc import Mapping
from typing import Any

import requests
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
    PipesClientCompletedInvocation,
    PipesEnvContextInjector,
    ResourceParam,
    asset,
    open_pipes_session,
)
from dagster_gcp.pipes import PipesGCSMessageReader


def stock_asset(url: str, event: Mapping[str, Any], *, name: str) -> AssetsDefinition:
    """Return an asset that calls a function with the resource `message_reader`, as Dagster's documentation does.

    The context goes with the request, which takes the fewest requests to the bucket.

    Sources: https://docs.dagster.io/concepts/dagster-pipes/dagster-pipes-details-and-customization and
    https://xebia.com/blog/how-to-use-dagster-to-orchestrate-google-cloud-functions/.
    """

    @asset(name=name)
    def call(context: AssetExecutionContext, message_reader: ResourceParam[PipesGCSMessageReader]) -> MaterializeResult:
        with open_pipes_session(
            context=context, context_injector=PipesEnvContextInjector(), message_reader=message_reader
        ) as session:
            requests.post(url, json={**event, **session.get_bootstrap_env_vars()}).raise_for_status()
        return PipesClientCompletedInvocation(session).get_materialize_result()

    return call
