"""Our parts work with Dagster's own, in both directions."""

import json
from typing import Any

import pytest
import requests
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    MaterializeResult,
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
from local_stack.functions import FunctionServer
from tests.helpers import calling_asset, logged, run


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


def test_the_stock_context_loader_loads_what_our_injector_put_into_the_bucket(
    stock_function: FunctionServer, bucket: str
) -> None:
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


def test_a_chunk_that_is_not_json_lines_fails_the_session_and_is_named(
    bucket: str, storage_client: storage.Client
) -> None:
    """The stock reader passes over what it cannot read."""

    @asset(name="orders")
    def broken(context: AssetExecutionContext) -> MaterializeResult:
        reader = PipesCloudStorageMessageReader(bucket=bucket)
        with open_pipes_session(
            context=context, context_injector=PipesEnvContextInjector(), message_reader=reader
        ) as session:
            prefix = session.message_reader_params["key_prefix"]
            good = {"__dagster_pipes_version": "0.1", "method": "log", "params": {"message": "kept", "level": "INFO"}}
            opened = {"__dagster_pipes_version": "0.1", "method": "opened", "params": {"extras": {}}}
            content = "\n".join([json.dumps(opened), json.dumps(good), "{not json"])
            storage_client.bucket(bucket).blob(f"{prefix}/1.json").upload_from_string(content)
        return MaterializeResult()

    result, lines = materialized(broken)
    assert not result.success
    assert lines[0] == "kept"
    assert "line 3 of gs://" in result.failure_data_for_node("orders").error.to_string()


def test_a_message_after_closed_fails_the_session(bucket: str, storage_client: storage.Client) -> None:
    @asset(name="orders")
    def chatty(context: AssetExecutionContext) -> MaterializeResult:
        reader = PipesCloudStorageMessageReader(bucket=bucket)
        with open_pipes_session(
            context=context, context_injector=PipesEnvContextInjector(), message_reader=reader
        ) as session:
            prefix = session.message_reader_params["key_prefix"]
            messages = [
                {"__dagster_pipes_version": "0.1", "method": "opened", "params": {"extras": {}}},
                {"__dagster_pipes_version": "0.1", "method": "closed", "params": {}},
                {"__dagster_pipes_version": "0.1", "method": "log", "params": {"message": "late", "level": "INFO"}},
            ]
            content = "\n".join(map(json.dumps, messages))
            storage_client.bucket(bucket).blob(f"{prefix}/1.json").upload_from_string(content)
        return MaterializeResult()

    result, lines = materialized(chatty)
    assert not result.success
    assert "late" not in lines
    assert "Expected no message after `closed`" in result.failure_data_for_node("orders").error.to_string()


def test_a_gap_in_the_chunks_fails_the_session_and_is_reported_chunk_by_chunk(
    bucket: str, storage_client: storage.Client
) -> None:
    @asset(name="orders")
    def gappy(context: AssetExecutionContext) -> MaterializeResult:
        reader = PipesCloudStorageMessageReader(bucket=bucket, drain_timeout=0.1)
        with open_pipes_session(
            context=context, context_injector=PipesEnvContextInjector(), message_reader=reader
        ) as session:
            prefix = session.message_reader_params["key_prefix"]
            for number in (1, 2, 4, 7):
                method, params = "log", {"message": f"chunk {number}", "level": "INFO"}
                if number == 1:
                    method, params = "opened", {"extras": "none"}
                message = {"__dagster_pipes_version": "0.1", "method": method, "params": params}
                storage_client.bucket(bucket).blob(f"{prefix}/{number}.json").upload_from_string(json.dumps(message))
        return MaterializeResult()

    result, lines = materialized(gappy)
    assert not result.success
    assert lines[0] == "chunk 2"
    assert "chunks 3, 5, 6 are not in the bucket" in result.failure_data_for_node("orders").error.to_string()
