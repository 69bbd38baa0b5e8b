"""A function's run as Dagster shows it."""

from typing import Any

import pytest
from dagster import (
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    DagsterInstance,
    MaterializeResult,
    MetadataValue,
    MonthlyPartitionsDefinition,
    OpExecutionContext,
    build_asset_context,
    job,
    materialize,
    multi_asset,
    op,
)
from gcf_pipes._shared.protocol import MAX_CONTEXT_BYTES
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from dagster_gcf_pipes.local import FunctionServer
from tests.dagster_runs import calling_asset, logged, run

pytestmark = pytest.mark.every_emulator

CHECKS = [AssetCheckSpec("not_empty", asset="orders"), AssetCheckSpec("fresh", asset="orders")]


def test_log_lines_arrive_with_their_levels(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [calling_asset(function.url, {"mode": "levels"})], resources={"cloud_function": client}, instance=instance
        )
        entries = [entry for entry in instance.all_logs(result.run_id) if entry.user_message.startswith("a line at")]
    assert [(entry.level, entry.user_message) for entry in entries] == [
        (10, "a line at debug"),
        (20, "a line at info"),
        (30, "a line at warning"),
        (40, "a line at error"),
        (50, "a line at critical"),
    ]


def test_a_materialization_arrives_with_metadata_and_data_version(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    result, _ = run(calling_asset(function.url, {"mode": "materialize"}, check_specs=CHECKS), client)
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["rows"] == MetadataValue.int(3)
    assert materialization.metadata["preview"] == MetadataValue.md("**bold**")
    assert materialization.tags is not None
    assert materialization.tags["dagster/data_version"] == "v1"


def test_checks_arrive_with_outcome_and_severity(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    result, _ = run(calling_asset(function.url, {"mode": "materialize"}, check_specs=CHECKS), client)
    evaluations = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert evaluations["not_empty"].passed
    assert evaluations["not_empty"].metadata["rows"] == MetadataValue.int(3)
    assert not evaluations["fresh"].passed
    assert evaluations["fresh"].severity == AssetCheckSeverity.WARN


def test_the_invocation_gives_custom_messages_and_the_response(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    invocations: list[PipesCloudFunctionCompletedInvocation] = []
    asset = calling_asset(function.url, {"mode": "materialize"}, check_specs=CHECKS, on_invocation=invocations.append)
    run(asset, client)
    (invocation,) = invocations
    assert list(invocation.get_custom_messages()) == [{"table": "orders", "rows": 3}]
    assert invocation.response.status_code == 200
    assert invocation.response.json() == {"rows": 3}
    assert invocation.response.headers["Dagster-Pipes-Chunk-Count"] == "2"


def test_the_function_sees_event_extras_partition_and_run(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    invocations: list[PipesCloudFunctionCompletedInvocation] = []
    asset = calling_asset(
        function.url,
        {"mode": "echo", "table": "t"},
        extras={"full_refresh": True, "name": "Zoë"},
        partitions_def=MonthlyPartitionsDefinition(start_date="2012-01-01"),
        on_invocation=invocations.append,
    )
    result, _ = run(asset, client, partition_key="2012-03-01")
    seen = invocations[0].response.json()
    assert seen["extras"] == {"full_refresh": True, "name": "Zoë"}
    assert seen["event"] == ["DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES", "mode", "table"]
    assert seen["asset_keys"] == ["orders"]
    assert seen["partition_key"] == "2012-03-01"
    assert seen["run_id"] == result.run_id
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.partition == "2012-03-01"


def test_a_large_context_travels_through_the_bucket_and_is_cleaned_up(
    function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    invocations: list[PipesCloudFunctionCompletedInvocation] = []
    client = PipesCloudFunctionClient(bucket=bucket, inline_context_limit=100)
    extras = {"blob": "x" * 100_000}
    asset = calling_asset(function.url, {"mode": "echo"}, extras=extras, on_invocation=invocations.append)
    result, _ = run(asset, client)
    assert result.success
    assert invocations[0].response.json()["extras_size"] == len(str(extras))
    (claim,) = storage_client.list_blobs(bucket)
    assert claim.name.endswith("/1.json")


def test_a_large_context_that_compresses_well_uses_the_bucket(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    """The function decompresses no more than that of what a caller sends."""
    invocations: list[PipesCloudFunctionCompletedInvocation] = []
    extras = {"blob": "x" * (MAX_CONTEXT_BYTES - 10_000)}
    asset = calling_asset(function.url, {"mode": "echo"}, extras=extras, on_invocation=invocations.append)
    run(asset, client)
    assert invocations[0].response.json()["extras_size"] == len(str(extras))


def test_an_op_gets_messages_and_the_response(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    @op
    def call(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        event = {"mode": "lines", "count": 3, "tag": "op"}
        return cloud_function.run(context=context, function_url=function.url, event=event).response.json()

    @job(resource_defs={"cloud_function": client})
    def calls() -> None:
        call()

    with DagsterInstance.ephemeral() as instance:
        result = calls.execute_in_process(instance=instance)
        assert logged(instance, result.run_id) == ["op 0", "op 1", "op 2"]
    assert result.output_for_node("call") == {"tag": "op"}


def test_a_multi_asset_gets_every_materialization(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    @multi_asset(specs=[AssetSpec("left"), AssetSpec(["deep", "right"])])
    def both(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        invocation = cloud_function.run(context=context, function_url=function.url, event={"mode": "materialize_all"})
        yield from invocation.get_results()

    result, _ = run(both, client)
    materialized = {each.asset_key.to_user_string(): each for each in result.asset_materializations_for_node("both")}
    assert set(materialized) == {"left", "deep/right"}
    assert materialized["deep/right"].metadata["key"] == MetadataValue.text("deep/right")


def test_an_asset_called_directly_in_a_test_works(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    asset = calling_asset(function.url, {"mode": "ok"})
    result = asset(build_asset_context(), cloud_function=client)
    assert isinstance(result, MaterializeResult)
    assert result.asset_key == AssetKey("orders")


def test_messages_of_several_threads_of_the_function_all_arrive(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    _, lines = run(calling_asset(function.url, {"mode": "from_threads", "count": 200}), client)
    for thread in range(4):
        assert [line for line in lines if line.startswith(f"{thread} ")] == [f"{thread} {n}" for n in range(200)]
    assert len(lines) == 800


def test_a_burst_of_several_chunks_arrives_complete_and_in_order(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    tag = "x" * 1000  # about 1 kB a line, so that 3,000 lines fill three chunks
    _, lines = run(calling_asset(function.url, {"mode": "lines", "count": 3000, "tag": tag}), client)
    assert lines == [f"{tag} {number}" for number in range(3000)]


@pytest.mark.parametrize(
    ("mode", "logged_lines"), [("returns_none", []), ("returns_stream", ["from inside the stream"])]
)
def test_any_flask_response_ends_a_call_well(
    function: FunctionServer, client: PipesCloudFunctionClient, mode: str, logged_lines: list[str]
) -> None:
    result, lines = run(calling_asset(function.url, {"mode": mode}), client)
    assert result.success
    assert lines == logged_lines


@pytest.mark.parametrize(
    ("mode", "cleanup", "kept"),
    [
        *(("ok", cleanup, kept) for cleanup, kept in (("never", 2), ("on_success", 1), ("always", 1))),
        *(("raises", cleanup, kept) for cleanup, kept in (("never", 2), ("on_success", 2), ("always", 1))),
    ],
)
def test_cleanup_keeps_objects_as_it_says(
    function: FunctionServer, bucket: str, storage_client: storage.Client, mode: str, cleanup: Any, kept: int
) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, cleanup=cleanup)
    result, _ = run(calling_asset(function.url, {"mode": mode}), client)
    names = [blob.name for blob in storage_client.list_blobs(bucket)]
    assert len(names) == kept
    assert all(name.startswith(f"dagster-pipes/{result.run_id}/orders/") for name in names)


def test_a_prefix_can_have_the_form_of_hive_s_partitions(
    function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    client = PipesCloudFunctionClient(
        bucket=bucket, key_prefix="env=prod/kind=pipes", cleanup="never", inline_context_limit=0
    )
    result, lines = run(calling_asset(function.url, {"mode": "ok"}), client)
    assert lines == ["hello from the function"]
    names = [blob.name for blob in storage_client.list_blobs(bucket)]
    assert all(name.startswith(f"env=prod/kind=pipes/{result.run_id}/orders/") for name in names)


def test_the_case_of_scheme_and_host_does_not_matter(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    url = function.url.replace("http://127.0.0.1", "HTTP://LocalHost")
    result, _ = run(calling_asset(url, {"mode": "ok"}), client)
    assert result.success
