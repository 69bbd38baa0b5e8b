"""The function accepts the context of each type of step, as the installed Dagster sends it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    DagsterInstance,
    DailyPartitionsDefinition,
    MaterializeResult,
    MultiPartitionKey,
    MultiPartitionsDefinition,
    OpExecutionContext,
    Output,
    PipesEnvContextInjector,
    PipesTempFileMessageReader,
    RetryPolicy,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    build_asset_context,
    graph_asset,
    job,
    materialize,
    multi_asset,
    op,
    open_pipes_session,
)
from gcf_pipes import PipesCloudFunctionContextLoader, PipesCloudFunctionParamsLoader

DAYS = DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-02-01")
COLORS = StaticPartitionsDefinition(["red", "green", "blue/grün"])


def loaded(context: AssetExecutionContext | OpExecutionContext, extras: Mapping[str, Any] | None = None) -> Any:
    """Return the context as the function loads it from the keys that Dagster makes."""
    with open_pipes_session(
        context=context,
        extras=dict(extras or {}),
        context_injector=PipesEnvContextInjector(),
        message_reader=PipesTempFileMessageReader(),
    ) as session:
        body = json.dumps(dict(session.get_bootstrap_env_vars())).encode()
        loader = PipesCloudFunctionParamsLoader(body)
        with PipesCloudFunctionContextLoader().load_context(loader.load_context_params()) as data:
            assert data == json.loads(json.dumps(session.context_data))
            return data


def context_of(
    instance: DagsterInstance, *, extras: Mapping[str, Any] | None = None, run: Mapping[str, Any], **arguments: Any
) -> Any:
    """Materialize an asset; return the context as the function loads it."""
    seen: list[Any] = []

    @asset(**{"name": "orders", **arguments})
    def calls(context: AssetExecutionContext) -> MaterializeResult:
        seen.append(loaded(context, extras))
        return MaterializeResult()

    assert materialize([calls], instance=instance, **run).success
    return seen[0]


def test_asset(instance: DagsterInstance) -> None:
    extras = {"number": 1.5, "nested": [{"a": None}], "name": "Zoë", "nan": float("inf")}
    context = context_of(instance, name="orders", key_prefix="deep", extras=extras, run={})
    assert context["asset_keys"] == ["deep/orders"]
    assert context["code_version_by_asset_key"] == {"deep/orders": None}
    assert context["partition_key_range"] is None
    assert context["run_id"] == instance.get_runs()[0].run_id
    assert context["extras"]["name"] == "Zoë"


def test_asset_with_a_code_version_and_provenance(instance: DagsterInstance) -> None:
    seen: list[Any] = []

    @asset(code_version="v0")
    def raw() -> None: ...

    @asset(code_version="v1", deps=[raw])
    def orders(context: AssetExecutionContext) -> MaterializeResult:
        seen.append(loaded(context))
        return MaterializeResult()

    materialize([raw, orders], instance=instance)
    materialize([raw, orders], instance=instance)
    first, second = (context["provenance_by_asset_key"] for context in seen)
    assert seen[0]["code_version_by_asset_key"] == {"orders": "v1"}
    assert first == {"orders": None}
    assert second is not None
    assert second["orders"] is not None
    assert second["orders"]["code_version"] == "v1"
    assert list(second["orders"]["input_data_versions"]) == ["raw"]
    assert second["orders"]["is_user_provided"] is False


def test_partition_of_a_time_window(instance: DagsterInstance) -> None:
    context = context_of(instance, partitions_def=DAYS, run={"partition_key": "2024-01-03"})
    assert context["partition_key"] == "2024-01-03"
    assert context["partition_key_range"] == {"start": "2024-01-03", "end": "2024-01-03"}
    assert context["partition_time_window"] == {
        "start": "2024-01-03T00:00:00+00:00",
        "end": "2024-01-04T00:00:00+00:00",
    }


def test_range_of_partitions_in_one_run(instance: DagsterInstance) -> None:
    tags = {"dagster/asset_partition_range_start": "2024-01-03", "dagster/asset_partition_range_end": "2024-01-05"}
    assert context_of(instance, partitions_def=DAYS, run={"tags": tags})["asset_keys"] == ["orders"]


@pytest.mark.parametrize("partition", ["red", "blue/grün"])
def test_static_partition(instance: DagsterInstance, partition: str) -> None:
    context = context_of(instance, partitions_def=COLORS, run={"partition_key": partition})
    assert context["partition_key_range"] == {"start": partition, "end": partition}
    assert context["partition_time_window"] is None


def test_partition_of_two_dimensions(instance: DagsterInstance) -> None:
    key = MultiPartitionKey({"day": "2024-01-03", "color": "red"})
    partitions = MultiPartitionsDefinition({"day": DAYS, "color": COLORS})
    context = context_of(instance, partitions_def=partitions, run={"partition_key": key})
    assert context["partition_key"] == "red|2024-01-03"
    assert context["partition_time_window"] is not None


def test_multi_asset_with_a_selection(instance: DagsterInstance) -> None:
    seen: list[Any] = []

    @multi_asset(
        specs=[AssetSpec(key, code_version=key[:1], skippable=True) for key in ("left", "middle", "right")],
        can_subset=True,
    )
    def three(context: AssetExecutionContext) -> Iterator[MaterializeResult]:
        seen.append(loaded(context))
        yield from (MaterializeResult(asset_key=key) for key in context.selected_asset_keys)

    materialize([three], instance=instance, selection=[AssetKey("left"), AssetKey("right")])
    assert seen[0]["code_version_by_asset_key"] == {"left": "l", "right": "r"}


def test_op_of_a_job_and_its_retries(instance: DagsterInstance) -> None:
    seen: list[Any] = []

    @op(retry_policy=RetryPolicy(max_retries=2))
    def call(context: OpExecutionContext) -> None:
        seen.append(loaded(context))
        if context.retry_number < 2:
            raise ValueError("once more")

    @job
    def nightly() -> None:
        call()

    nightly.execute_in_process(instance=instance)
    assert [context["retry_number"] for context in seen] == [0, 1, 2]
    assert seen[0]["asset_keys"] is None
    assert seen[0]["job_name"] == "nightly"


def test_op_inside_a_graph_asset(instance: DagsterInstance) -> None:
    seen: list[Any] = []

    @op
    def call(context: OpExecutionContext) -> Iterator[Output[int]]:
        seen.append(loaded(context))
        yield Output(1)

    @graph_asset
    def orders():  # type: ignore[no-untyped-def]  # Dagster reads the annotation as that of the output
        return call()

    materialize([orders], instance=instance)
    assert seen[0]["asset_keys"] == ["orders"]


def test_asset_check_by_itself(instance: DagsterInstance) -> None:
    seen: list[Any] = []

    @asset
    def orders() -> None: ...

    @asset_check(asset=orders)
    def not_empty(context: AssetCheckExecutionContext) -> AssetCheckResult:
        seen.append(loaded(context.op_execution_context))
        return AssetCheckResult(passed=True)

    assert materialize([orders, not_empty], instance=instance).success
    assert len(seen) == 1


def test_asset_that_a_test_calls_directly() -> None:
    seen: list[Any] = []

    @asset
    def orders(context: AssetExecutionContext) -> MaterializeResult:
        seen.append(loaded(context))
        return MaterializeResult()

    orders(build_asset_context())
    assert seen[0]["job_name"] is None
