"""Our parts work with Dagster's own, in both directions."""

from typing import Any

import pytest
import requests
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    PipesEnvContextInjector,
    asset,
    materialize,
    open_pipes_session,
)
from dagster_gcp.pipes import PipesGCSContextInjector, PipesGCSMessageReader
from google.cloud import storage

from dagster_gcf_pipes import (
    PipesCloudFunctionClient,
    PipesCloudFunctionEventContextInjector,
    PipesCloudStorageMessageReader,
)
from dagster_gcf_pipes.local import FunctionServer
from tests.dagster_runs import calling_asset, logged, run

pytestmark = pytest.mark.every_emulator


def session_asset(url: str, event: dict[str, Any], injector: Any, reader: Any, **extras: Any) -> Any:
    """An asset that opens the session itself, and posts the payload itself."""

    @asset(name="orders")
    def posts(context: AssetExecutionContext) -> Any:
        with open_pipes_session(
            context=context, context_injector=injector, message_reader=reader, extras=extras
        ) as session:
            body = {**event, **session.get_bootstrap_env_vars()}
            requests.post(url, json=body, timeout=60).raise_for_status()
        return session.get_results()[0]

    return posts


def materialized(orders: Any) -> tuple[Any, list[str]]:
    with DagsterInstance.ephemeral() as instance:
        result = materialize([orders], instance=instance, raise_on_error=False)
        return result, logged(instance, result.run_id)


def test_our_client_reads_the_stock_writer(stock_function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    asset = calling_asset(stock_function.url, {"count": 5}, extras={"full": True})
    result, lines = run(asset, client)
    assert result.success
    assert lines == [f"stock {number}" for number in range(5)]
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["extras"].value == {"full": True}


def test_our_client_sees_an_exception_through_the_stock_writer(
    stock_function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    result, lines = run(calling_asset(stock_function.url, {"count": 1, "raise": True}), client)
    assert not result.success
    assert lines[0] == "stock 0"


def test_the_stock_context_loader_loads_our_injectors_object(stock_function: FunctionServer, bucket: str) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, inline_context_limit=0)
    result, _ = run(calling_asset(stock_function.url, {"count": 0}, extras={"full": True}), client)
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["extras"].value == {"full": True}


def test_our_reader_and_injector_alone_work_with_the_stock_writer(stock_function: FunctionServer, bucket: str) -> None:
    orders = session_asset(
        stock_function.url,
        {"count": 3},
        PipesCloudFunctionEventContextInjector(bucket=bucket),
        PipesCloudStorageMessageReader(bucket=bucket),
        full=True,
    )
    result, lines = materialized(orders)
    assert result.success
    assert lines == ["stock 0", "stock 1", "stock 2"]


def test_one_reader_and_one_injector_serve_several_sessions(function: FunctionServer, bucket: str) -> None:
    injector = PipesCloudFunctionEventContextInjector(bucket=bucket)
    reader = PipesCloudStorageMessageReader(bucket=bucket)
    for number in range(3):
        event = {"mode": "lines", "count": 2, "tag": f"session {number}"}
        _, lines = materialized(session_asset(function.url, event, injector, reader))
        assert lines == [f"session {number} 0", f"session {number} 1"]


@pytest.mark.parametrize("inject", ["env", "gcs", "ours"])
def test_the_stock_reader_reads_our_writer(
    function: FunctionServer, bucket: str, storage_client: storage.Client, inject: str
) -> None:
    injectors = {
        "env": PipesEnvContextInjector(),
        "gcs": PipesGCSContextInjector(bucket=bucket, client=storage_client),
        "ours": PipesCloudFunctionEventContextInjector(bucket=bucket),
    }
    reader = PipesGCSMessageReader(bucket=bucket, client=storage_client, interval=0)
    event = {"mode": "lines", "count": 3, "tag": "ours"}
    result, lines = materialized(session_asset(function.url, event, injectors[inject], reader))
    assert result.success
    assert lines == ["ours 0", "ours 1", "ours 2"]
