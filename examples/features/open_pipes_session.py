"""`open_pipes_session` by hand, with this package's reader and injector."""

import json
import os
from collections.abc import Iterator

import dagster as dg
import requests

from dagster_gcf_pipes import PipesCloudFunctionEventContextInjector, PipesCloudStorageMessageReader


@dg.asset
def orders(context: dg.AssetExecutionContext) -> Iterator[dg.PipesExecutionResult]:
    """The request is yours: its URL, its identity, its retries and the verdict on its response."""
    url = json.loads(os.environ["GCF_PIPES_LOCAL_FUNCTIONS"])["orders"]
    injector = PipesCloudFunctionEventContextInjector(bucket=os.environ["PIPES_BUCKET"])
    reader = PipesCloudStorageMessageReader(bucket=os.environ["PIPES_BUCKET"])
    with dg.open_pipes_session(context=context, context_injector=injector, message_reader=reader) as session:
        event = {"rows": 3, **session.get_bootstrap_env_vars()}
        requests.post(url, json=event, timeout=60).raise_for_status()
    yield from session.get_results()


defs = dg.Definitions(assets=[orders])
