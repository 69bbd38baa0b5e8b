"""What the function knows of its step."""

from collections.abc import Iterator
from typing import Any

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
    RetryPolicy,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    job,
    multi_asset,
    op,
)

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from tests.cases.case import LOGGING, RESPONSE, case
from tests.cases.shown import shown
from tests.cases.stage import QUIET, Stage

DAYS = DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-02-01")
COLOURS = StaticPartitionsDefinition(["red", "blue/grün"])
EXTRAS = {"number": 1.5, "nested": [{"a": None}], "name": "Zoë ☃", "empty": {}, "": "an empty key", "yes": True}
NO_BUCKET = "without a bucket, a context has to fit the request"


@case
def the_context_of_an_asset(stage: Stage) -> None:
    """The function sees the key of the asset, the run, the job and the retry number, and no partition."""
    run = stage.run("echo", key_prefix="deep")
    seen = run.response
    assert seen["asset_keys"] == ["deep/orders"]
    assert (seen["run_id"], seen["retry_number"]) == (run.run_id, 0)
    assert seen["job_name"].startswith("__ephemeral_asset_job_")
    assert seen["code_version_by_asset_key"] == {"deep/orders": None}
    assert seen["provenance_by_asset_key"] == {"deep/orders": None}
    assert (seen["partition_key"], seen["partition_key_range"], seen["partition_time_window"]) == (None, None, None)
    assert run.custom_messages == [seen]


@case
def event_and_extras(stage: Stage) -> None:
    """The event and the extras arrive unchanged, with every type of JSON, nested, and beyond ASCII."""
    given = {"values": EXTRAS, "zoë ☃ 😀": "\u2028 and \x00"}
    seen = stage.run("echo", given, extras=EXTRAS).response
    assert seen["event"] == stage.event("echo", given)
    assert seen["extras"] == EXTRAS


@case
def several_assets(stage: Stage) -> None:
    """The function of a multi-asset sees the assets that the run selects, with their code versions."""
    invocations: list[PipesCloudFunctionCompletedInvocation] = []

    @multi_asset(
        specs=[AssetSpec(key, code_version=key[:1], skippable=True) for key in ("left", "middle", "right")],
        can_subset=True,
    )
    def three(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Iterator[MaterializeResult]:
        invocations.append(cloud_function.run(context=context, function_url=stage.url, event=stage.event("echo")))
        yield from (MaterializeResult(asset_key=key) for key in context.selected_asset_keys)

    run = stage.materialize(three, invocations, run={"selection": [AssetKey("left"), AssetKey("right")]})
    assert sorted(run.response["asset_keys"]) == ["left", "right"]
    assert run.response["code_version_by_asset_key"] == {"left": "l", "right": "r"}


@case
def code_version_and_provenance(stage: Stage) -> None:
    """The function sees the code version of its asset, and from which versions it was last computed."""

    @asset(code_version="v0")
    def raw() -> None: ...

    with DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            invocations: list[PipesCloudFunctionCompletedInvocation] = []

            @asset(code_version="v1", deps=[raw])
            def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
                invocation = cloud_function.run(context=context, function_url=stage.url, event=stage.event("echo"))
                invocations.append(invocation)  # noqa: B023 - it runs in this round
                return invocation.get_materialize_result()

            seen = stage.materialize([raw, orders], invocations, instance=instance).response
    assert seen["code_version_by_asset_key"] == {"orders": "v1"}
    provenance = seen["provenance_by_asset_key"]["orders"]
    assert provenance["code_version"] == "v1"
    assert list(provenance["input_data_versions"]) == ["raw"]


@case
def a_partition(stage: Stage) -> None:
    """The function sees a partition whose key is beyond ASCII and has a slash."""
    seen = stage.run("echo", partitions_def=COLOURS, run={"partition_key": "blue/grün"}).response
    assert seen["partition_key"] == "blue/grün"
    assert seen["partition_key_range"] == {"start": "blue/grün", "end": "blue/grün"}
    assert seen["partition_time_window"] is None


@case
def a_partition_of_time(stage: Stage) -> None:
    """The function sees the time window of its partition."""
    seen = stage.run("echo", partitions_def=DAYS, run={"partition_key": "2024-01-03"}).response
    assert seen["partition_key"] == "2024-01-03"
    assert seen["partition_time_window"] == {
        "start": "2024-01-03T00:00:00+00:00",
        "end": "2024-01-04T00:00:00+00:00",
    }


@case
def a_partition_of_two_dimensions(stage: Stage) -> None:
    """The function sees both dimensions of its partition in one key."""
    partitions = MultiPartitionsDefinition({"day": DAYS, "colour": COLOURS})
    key = MultiPartitionKey({"day": "2024-01-03", "colour": "red"})
    seen = stage.run("echo", partitions_def=partitions, run={"partition_key": key}).response
    assert seen["partition_key"] == "red|2024-01-03"
    assert seen["partition_time_window"] is not None


@case
def a_range_of_partitions(stage: Stage) -> None:
    """The function of a run for a range sees its first and last partition, and the window of all."""
    tags = {"dagster/asset_partition_range_start": "2024-01-03", "dagster/asset_partition_range_end": "2024-01-05"}
    seen = stage.run("echo", partitions_def=DAYS, run={"tags": tags}).response
    assert seen["partition_key_range"] == {"start": "2024-01-03", "end": "2024-01-05"}
    assert seen["partition_time_window"]["end"] == "2024-01-06T00:00:00+00:00"
    assert seen["partition_key"] is None


@case
def an_op_without_assets(stage: Stage) -> None:
    """The function of an op sees no assets, and the name of the job."""
    seen: list[Any] = []

    @op
    def call(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        invocation = cloud_function.run(context=context, function_url=stage.url, event=stage.event("echo"))
        seen.append(invocation.response.json() if invocation.response else None)

    @job(resource_defs={"cloud_function": stage.client()}, config=QUIET)
    def nightly() -> None:
        call()

    with DagsterInstance.ephemeral() as instance:
        nightly.execute_in_process(instance=instance)
        assert shown(instance, []).success
    assert seen[0]["asset_keys"] is None
    assert seen[0]["code_version_by_asset_key"] is None
    assert seen[0]["job_name"] == "nightly"


@case
def an_asset_check_by_itself(stage: Stage) -> None:
    """A check that runs alone calls the function, and its result is that of the check."""

    @asset
    def orders() -> None: ...

    @asset_check(asset=orders)
    def not_empty(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> AssetCheckResult:
        check = {"check_name": "not_empty", "passed": False, "asset_key": "orders", "metadata": {"rows": 0}}
        event = stage.event("materialize", {"reports": [], "checks": [check]})
        return cloud_function.run(context=context, function_url=stage.url, event=event).get_asset_check_result()

    run = stage.materialize([orders, not_empty], [])
    (evaluation,) = run.checks
    assert (evaluation.check_name, evaluation.passed) == ("not_empty", False)
    assert evaluation.metadata["rows"].value == 0


@case
def the_number_of_a_retry(stage: Stage) -> None:
    """If Dagster retries a step, the function runs again and sees the number of the retry."""
    run = stage.run("fails_at_first", retry_policy=RetryPolicy(max_retries=1))
    assert run.success
    assert "the source is away" in run.error
    assert run.metadata["retry"].value == 1
    assert stage.noted() == ["started", "started"]


@case(not_on={LOGGING: NO_BUCKET, RESPONSE: NO_BUCKET})
def a_context_too_large_for_the_request(stage: Stage) -> None:
    """A large context takes the way through the bucket, and arrives whole."""
    extras = {f"key {number}": "ü" * 1000 for number in range(200)}
    run = stage.run("echo", extras=extras, settings={"inline_context_limit": 1000, "cleanup": "never"})
    assert run.response["extras"] == extras
    assert "context.json" in stage.stored(run.run_id)
