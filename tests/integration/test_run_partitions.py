"""One call for each partition of a run, each with the events of its partition alone."""

import json
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DynamicPartitionsDefinition,
    ExecuteInProcessResult,
    HourlyPartitionsDefinition,
    MaterializeResult,
    MultiPartitionsDefinition,
    OpExecutionContext,
    PartitionKeyRange,
    PartitionsDefinition,
    RetryPolicy,
    StaticPartitionsDefinition,
    TableMetadataValue,
    TimeWindowPartitionMapping,
    asset,
    asset_check,
    build_asset_context,
    graph_asset,
    job,
    materialize,
    multi_asset,
    op,
)
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function
from google.cloud import storage

from dagster_gcf_pipes import (
    PipesCloudFunctionClient,
    PipesCloudFunctionCompletedPartitions,
    PipesCloudFunctionPartitionsError,
    PipesCloudFunctionRaisedError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes.local import Emulator, run_function
from dagster_gcf_pipes.local._processes import python_command, run_process
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.conftest import FUNCTIONS
from tests.dagster_runs import check_evaluations, failure_text, materializations, step_error
from tests.functions.partitioned.main import main as partitioned
from tests.integration.partition_ranges import DAYS, ODD_KEYS, SALES, THREE_DAYS, essence, expected, run_assets, tags
from tests.quotes import Quote
from tests.waiting import wait_until

INTERRUPTED = """
import json, sys
from dagster import AssetExecutionContext, DailyPartitionsDefinition, asset, materialize
from dagster_gcf_pipes import PipesCloudFunctionClient

url, bucket, endless, most = sys.argv[1:]
tags = {"dagster/asset_partition_range_start": "2024-01-03", "dagster/asset_partition_range_end": "2024-01-05"}

@asset(partitions_def=DailyPartitionsDefinition("2024-01-01"))
def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient):
    event = {"endless": json.loads(endless)}
    calls = cloud_function.run_partitions(context=context, function_url=url, event=event, max_concurrency=int(most))
    return calls.get_materialize_result()

materialize([sales], resources={"cloud_function": PipesCloudFunctionClient(bucket=bucket)}, tags=tags)
"""


@pytest.fixture
def client() -> LocalPipesCloudFunctionClient:
    return LocalPipesCloudFunctionClient(functions={"partitioned": partitioned})


def run_asset(
    instance: DagsterInstance,
    client: PipesCloudFunctionClient,
    keys: Sequence[str] = THREE_DAYS,
    *,
    definition: PartitionsDefinition[Any] = DAYS,
    others: Sequence[AssetsDefinition] = (),
    event: Mapping[str, Any] | None = None,
    max_concurrency: int = 100,
    **arguments: Any,
) -> ExecuteInProcessResult:
    """Materialize partitions of an asset that calls the function for each, in one run."""

    @asset(partitions_def=definition, name="sales", **arguments)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        calls = cloud_function.run_partitions(
            context=context, function="partitioned", event=event, max_concurrency=max_concurrency
        )
        return calls.get_materialize_result()

    return run_assets(instance, client, [sales, *others], keys)


def reported(instance: DagsterInstance, run_id: str) -> list[tuple[str | None, Any, str | None]]:
    """What the functions reported, in the order of the partitions: the calls are made at once, and end in any order."""
    return sorted(map(essence, materializations(instance, run_id)), key=str)


def events(instance: DagsterInstance, run_id: str, event_type: DagsterEventType) -> list[DagsterEvent]:
    logged = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    return [event for event in logged if event.event_type == event_type]


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        pytest.param(DAYS, THREE_DAYS, id="days"),
        pytest.param(
            HourlyPartitionsDefinition("2024-10-27-00:00", end_date="2024-10-28-00:00", timezone="Europe/Berlin"),
            ["2024-10-27-01:00", "2024-10-27-02:00", "2024-10-27-02:00+0100", "2024-10-27-03:00"],
            id="hours, the clock goes back",
        ),
        pytest.param(
            HourlyPartitionsDefinition("2024-03-31-00:00", end_date="2024-04-01-00:00", timezone="Europe/Berlin"),
            ["2024-03-31-01:00", "2024-03-31-03:00"],
            id="hours, the clock goes forward",
        ),
        pytest.param(StaticPartitionsDefinition(ODD_KEYS), ODD_KEYS, id="static, odd characters"),
        pytest.param(DynamicPartitionsDefinition(name="customers"), ["zoe", "adam", "mia"], id="dynamic"),
        pytest.param(
            MultiPartitionsDefinition({"day": DAYS, "shade": StaticPartitionsDefinition(["dark", "light"])}),
            ["2024-01-03|dark", "2024-01-03|light", "2024-01-04|dark", "2024-01-04|light"],
            id="two dimensions",
        ),
    ],
)
def test_each_partition_has_its_own_materialization(
    instance: DagsterInstance,
    client: LocalPipesCloudFunctionClient,
    definition: PartitionsDefinition[Any],
    keys: list[str],
) -> None:
    instance.add_dynamic_partitions("customers", ["zoe", "adam", "mia"])
    result = run_asset(instance, client, keys, definition=definition)
    assert result.success
    assert reported(instance, result.run_id) == sorted(expected(keys), key=str)
    assert sorted(str(call.context["partition_key"]) for call in client.calls) == sorted(keys)
    assert instance.get_materialized_partitions(SALES) == set(keys)


def test_each_function_sees_the_context_of_a_run_with_its_partition_alone(instance: DagsterInstance) -> None:
    """So its code needs no change."""
    clients = [LocalPipesCloudFunctionClient(functions={"partitioned": partitioned}) for _ in range(2)]
    run_asset(instance, clients[0])
    for key in THREE_DAYS:

        @asset(partitions_def=DAYS)
        def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
            return cloud_function.run(context=context, function="partitioned").get_materialize_result()

        materialize([sales], resources={"cloud_function": clients[1]}, instance=instance, partition_key=key)
    own = {"run_id": None, "provenance_by_asset_key": None}
    together, alone = (
        {call.context["partition_key"]: {**call.context, **own} for call in client.calls} for client in clients
    )
    assert together == alone
    assert len(alone) == 3


def test_a_partition_is_shown_as_soon_as_its_call_has_ended(instance: DagsterInstance) -> None:
    """Each function but the first runs until Dagster shows the partition before its own."""

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        before = THREE_DAYS[: THREE_DAYS.index(pipes.partition_key)]
        wait_until(lambda: instance.get_materialized_partitions(SALES) == set(before))

    assert run_asset(instance, LocalPipesCloudFunctionClient(functions={"partitioned": main})).success


@pytest.mark.parametrize(
    "returned",
    [
        pytest.param(lambda calls: calls.get_results(), id="the results"),
        pytest.param(lambda calls: calls.get_materialize_result(), id="the result"),
        pytest.param(lambda _: MaterializeResult(metadata={"rows": 1}), id="a result of its own"),
    ],
)
def test_no_partition_is_materialized_twice_whatever_the_asset_returns(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, returned: Any
) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        return returned(cloud_function.run_partitions(context=context, function="partitioned"))

    result = run_assets(instance, client, [sales])
    assert result.success
    assert reported(instance, result.run_id) == expected(THREE_DAYS)


def test_an_asset_that_returns_nothing_fails_after_its_partitions_are_materialized(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    """As after `run`. Dagster says what to return."""

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        cloud_function.run_partitions(context=context, function="partitioned")

    result = run_assets(instance, client, [sales])
    assert "did not yield or return expected outputs" in step_error(result, "sales")
    assert reported(instance, result.run_id) == expected(THREE_DAYS)


def test_what_the_method_returns_is_not_a_result(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        return cloud_function.run_partitions(context=context, function="partitioned")

    result = run_assets(instance, client, [sales])
    assert not result.success
    assert "Expected the results of the call" in step_error(result, "sales")


def test_steps_downstream_run_in_the_same_run(instance: DagsterInstance, client: LocalPipesCloudFunctionClient) -> None:
    @asset(partitions_def=DAYS, deps=[SALES])
    def totals() -> MaterializeResult:
        return MaterializeResult()

    result = run_asset(instance, client, others=[totals])
    assert [event.partition for event in result.asset_materializations_for_node("totals")] == THREE_DAYS


def test_the_calls_are_known_by_their_partitions(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    calls: list[PipesCloudFunctionCompletedPartitions] = []

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        calls.append(cloud_function.run_partitions(context=context, function="partitioned", event={"table": "t"}))
        return calls[0].get_materialize_result()

    run_assets(instance, client, [sales])
    invocations = calls[0].invocations
    assert [*invocations] == THREE_DAYS
    assert {key: call.response.json()["partition_key"] for key, call in invocations.items()} == {
        key: key for key in THREE_DAYS
    }
    assert invocations["2024-01-04"].get_custom_messages() == ({"did": "2024-01-04"},)
    assert [call.event for call in client.calls] == [{"table": "t"}] * 3


@pytest.mark.parametrize("code_version", [None, "7"])
def test_versions_and_provenance_are_those_that_dagster_adds(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, code_version: str | None
) -> None:
    @asset
    def stations() -> None: ...

    @asset(name="by_dagster", partitions_def=DAYS, deps=[stations, "unknown"], code_version=code_version)
    def by_dagster() -> MaterializeResult:
        return MaterializeResult()

    materialize([stations], instance=instance)
    result = run_asset(
        instance,
        client,
        event={"reports": []},
        deps=[stations, "unknown"],
        code_version=code_version,
        others=[by_dagster],
    )
    tags_of = {event.asset_key.to_user_string(): event.tags for event in materializations(instance, result.run_id)}
    assert tags_of["sales"] == tags_of["by_dagster"]
    assert "dagster/input_event_pointer/stations" in (tags_of["sales"] or {})


def test_an_asset_in_the_same_step_has_the_version_of_its_parent_of_the_same_partition(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    specs = [AssetSpec("z_parent", partitions_def=DAYS), AssetSpec("a_child", partitions_def=DAYS, deps=["z_parent"])]

    @multi_asset(specs=specs)
    def both(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        yield from cloud_function.run_partitions(context=context, function="partitioned").get_results()

    result = run_assets(instance, client, [both])
    assert result.success
    children = [each for each in materializations(instance, result.run_id) if each.asset_key == AssetKey("a_child")]
    versions = {each.partition: (each.tags or {})["dagster/input_data_version/z_parent"] for each in children}
    assert versions == {key: f"version of {key}" for key in THREE_DAYS}


@pytest.mark.parametrize("method", ["run", "run_partitions"])
def test_an_asset_that_depends_on_its_own_earlier_partitions(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, method: str
) -> None:
    yesterday = AssetDep("sales", partition_mapping=TimeWindowPartitionMapping(start_offset=-1, end_offset=-1))

    @multi_asset(specs=[AssetSpec("sales", partitions_def=DAYS, deps=[yesterday])])
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        call = getattr(cloud_function, method)
        yield from call(context=context, function="partitioned").get_results()

    result = run_assets(instance, client, [sales])
    assert result.success
    assert instance.get_materialized_partitions(SALES) == set(THREE_DAYS)
    if method == "run_partitions":
        assert [call.context["partition_key"] for call in client.calls] == THREE_DAYS
        assert [each.partition for each in materializations(instance, result.run_id)] == THREE_DAYS
    assert all(
        "dagster/input_data_version/sales" in (each.tags or {}) for each in materializations(instance, result.run_id)
    )


def test_an_asset_without_partitions_in_the_step_is_materialized_once(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    @multi_asset(specs=[AssetSpec("days", partitions_def=DAYS), AssetSpec("totals")])
    def both(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        yield from cloud_function.run_partitions(context=context, function="partitioned").get_results()

    result = run_assets(instance, client, [both])
    last = THREE_DAYS[-1]
    totals = [each for each in materializations(instance, result.run_id) if each.asset_key == AssetKey("totals")]
    assert list(map(essence, totals)) == [(None, last, f"version of {last}")]
    assert instance.get_materialized_partitions(AssetKey("days")) == set(THREE_DAYS)


def test_only_the_selected_assets_are_materialized(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    @multi_asset(specs=[AssetSpec(name, partitions_def=DAYS, skippable=True) for name in "abc"], can_subset=True)
    def several(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        yield from cloud_function.run_partitions(context=context, function="partitioned").get_results()

    result = materialize(
        [several], selection=["b"], resources={"cloud_function": client}, instance=instance, tags=tags(THREE_DAYS)
    )
    assert {each.asset_key.to_user_string() for each in materializations(instance, result.run_id)} == {"b"}


def test_a_function_that_reports_nothing_materializes_its_partition(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    result = run_asset(instance, client, event={"reports": []})
    events = materializations(instance, result.run_id)
    assert sorted(event.partition or "" for event in events) == THREE_DAYS
    assert all("cloud_function/duration_seconds" in event.metadata for event in events)


def test_in_a_run_of_one_partition_it_does_what_run_does(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    """Dagster logs the materialization. A failure is that of the call, and what it reported is kept."""
    key = THREE_DAYS[:1]
    result = run_asset(instance, client, key)
    assert reported(instance, result.run_id) == expected(key)
    failed = run_asset(instance, client, key, event={"fails": key})
    assert failure_text(failed, "sales").startswith("The function raised ValueError: no data for 2024-01-03")
    assert reported(instance, failed.run_id) == expected(key)


def test_exactly_the_failed_partitions_are_missing(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, quote: Quote
) -> None:
    keys = [f"2024-01-{day:02}" for day in range(1, 6)]
    failed = [keys[1], keys[3]]
    result = run_asset(instance, client, keys, event={"fails": failed})
    assert not result.success
    done = [key for key in keys if key not in failed]
    assert reported(instance, result.run_id) == expected(done)
    assert instance.get_materialized_partitions(SALES) == set(done)
    assert len(client.calls) == 5
    text = failure_text(result, "sales")
    assert text.startswith(
        "2 of 5 partitions failed (2 PipesCloudFunctionRaisedError): '2024-01-02', '2024-01-04'.\n"
        "The first error: The function raised ValueError: no data for 2024-01-02"
    )
    assert "The other 3 are materialized." in text
    quote("some_partitions_failed", text)


def test_the_error_names_twenty_partitions_and_has_all(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    keys = list(DAYS.get_partition_keys())
    raised: list[PipesCloudFunctionPartitionsError] = []

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        try:
            cloud_function.run_partitions(context=context, function="partitioned", event={"fails": keys})
        except PipesCloudFunctionPartitionsError as error:
            raised.append(error)
            raise

    result = run_assets(instance, client, [sales], keys)
    assert failure_text(result, "sales").startswith(
        "31 of 31 partitions failed (31 PipesCloudFunctionRaisedError): '2024-01-01', "
    )
    assert "'2024-01-20' and 11 more.\n" in failure_text(result, "sales")
    (error,) = raised
    assert list(error.errors) == keys
    assert {type(each) for each in error.errors.values()} == {PipesCloudFunctionRaisedError}
    table = error.metadata["cloud_function/failed_partitions"]
    assert isinstance(table, TableMetadataValue)
    assert [record.data["partition"] for record in table.records] == keys[:20]


def test_what_a_failed_call_reported_is_kept_as_an_observation(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    result = run_asset(instance, client, event={"fails": THREE_DAYS[:1]})
    (observed,) = events(instance, result.run_id, DagsterEventType.ASSET_OBSERVATION)
    observation = observed.asset_observation_data.asset_observation
    assert (observation.asset_key, observation.partition) == (SALES, THREE_DAYS[0])
    assert observation.metadata["day"].value == THREE_DAYS[0]


def test_a_retry_calls_only_the_failed_partitions_again(instance: DagsterInstance) -> None:
    calls: list[str] = []

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        calls.append(pipes.partition_key)
        if pipes.partition_key == THREE_DAYS[1] and calls.count(THREE_DAYS[1]) == 1:
            raise ConnectionError("once")

    client = LocalPipesCloudFunctionClient(functions={"partitioned": main})
    result = run_asset(instance, client, retry_policy=RetryPolicy(max_retries=1))
    assert result.success
    assert sorted(calls[:3]) == THREE_DAYS
    assert calls[3:] == [THREE_DAYS[1]]
    assert sorted(each.partition or "" for each in materializations(instance, result.run_id)) == THREE_DAYS


def test_with_a_concurrency_of_one_a_partition_is_shown_before_the_next_call(instance: DagsterInstance) -> None:
    shown: list[set[str]] = []

    @pipes_function
    def main(_: Any, __: PipesContext) -> None:
        shown.append(instance.get_materialized_partitions(SALES))

    client = LocalPipesCloudFunctionClient(functions={"partitioned": main})
    assert run_asset(instance, client, max_concurrency=1).success
    assert shown == [set(), set(THREE_DAYS[:1]), set(THREE_DAYS[:2])]


def test_a_retry_with_a_client_that_is_no_resource_calls_only_the_failed_partitions(instance: DagsterInstance) -> None:
    """Nobody tells such a client when the step has succeeded. It has to keep the messages that a retry needs."""
    calls: list[str] = []

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        calls.append(pipes.partition_key)
        if calls.count(THREE_DAYS[1]) == 1 and pipes.partition_key == THREE_DAYS[1]:
            raise ConnectionError("once")

    client = LocalPipesCloudFunctionClient(functions={"partitioned": main})

    @asset(partitions_def=DAYS, retry_policy=RetryPolicy(max_retries=1))
    def sales(context: AssetExecutionContext) -> MaterializeResult:
        return client.run_partitions(context=context, function="partitioned").get_materialize_result()

    result = materialize([sales], instance=instance, tags=tags(THREE_DAYS))
    assert sorted(calls) == sorted([*THREE_DAYS, THREE_DAYS[1]])
    assert sorted(each.partition or "" for each in materializations(instance, result.run_id)) == THREE_DAYS


@pytest.mark.parametrize("cleanup", ["never", "always"])
@pytest.mark.parametrize("reattach", [True, False])
def test_a_retry_logs_each_execution_once(instance: DagsterInstance, cleanup: Any, *, reattach: bool) -> None:
    """Without `reattach`, all partitions are called again, and each execution has its event."""
    calls: list[str] = []

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        calls.append(pipes.partition_key)
        if calls.count(THREE_DAYS[1]) == 1 and pipes.partition_key == THREE_DAYS[1]:
            raise ConnectionError("once")

    client = LocalPipesCloudFunctionClient(functions={"partitioned": main}, cleanup=cleanup, reattach=reattach)
    result = run_asset(instance, client, retry_policy=RetryPolicy(max_retries=1))
    assert result.success
    again = [THREE_DAYS[1]] if reattach else THREE_DAYS
    assert sorted(calls) == sorted([*THREE_DAYS, *again])
    succeeded = [THREE_DAYS[0], THREE_DAYS[2], *again]
    assert sorted(each.partition or "" for each in materializations(instance, result.run_id)) == sorted(succeeded)


def test_the_results_that_a_step_refuses_are_not_adopted(instance: DagsterInstance) -> None:
    """Else the step could never succeed: each of its retries would refuse them again."""
    calls: list[str] = []

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        calls.append(pipes.partition_key)
        if pipes.partition_key == THREE_DAYS[1] and calls.count(THREE_DAYS[1]) == 1:
            params = {"asset_key": "other", "metadata": None, "data_version": None}
            pipes._write_message("report_asset_materialization", params)  # noqa: SLF001
        if pipes.partition_key == THREE_DAYS[2] and calls.count(THREE_DAYS[2]) == 1:
            raise ConnectionError("a retry helps")

    client = LocalPipesCloudFunctionClient(functions={"partitioned": main})
    assert run_asset(instance, client, retry_policy=RetryPolicy(max_retries=1)).success
    assert sorted(calls) == sorted([*THREE_DAYS, *THREE_DAYS[1:]])


@pytest.mark.parametrize("fails", [[], THREE_DAYS[:1]])
def test_a_database_that_fails_fails_the_step(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch, fails: list[str]
) -> None:
    """The results of a call are never lost in silence. A retry of the step logs what is missing."""
    store = instance.event_log_storage.store_event
    failures: list[DagsterEvent] = []

    def store_event(entry: Any) -> None:
        event = entry.dagster_event
        if event and event.partition == THREE_DAYS[0] and not failures and not event.is_asset_materialization_planned:
            failures.append(event)
            raise OSError("the database does not answer")
        store(entry)

    monkeypatch.setattr(instance.event_log_storage, "store_event", store_event)
    result = run_asset(instance, client, event={"fails": fails}, max_concurrency=1)
    assert failures
    assert "the database does not answer" in step_error(result, "sales")


def test_a_retry_that_cannot_help_is_not_made(instance: DagsterInstance) -> None:
    def plain(_: Any) -> str:
        return "no Pipes session"

    client = LocalPipesCloudFunctionClient(functions={"partitioned": plain})
    result = run_asset(instance, client, retry_policy=RetryPolicy(max_retries=1))
    assert failure_text(result, "sales").startswith("3 of 3 partitions failed (3 PipesCloudFunctionNotOpenedError): ")
    assert len(client.calls) == 3


@pytest.mark.parametrize("most", [1, 100])
def test_an_interruption_stops_all_calls_and_starts_no_other(
    emulator: Emulator, bucket: str, storage_client: storage.Client, most: int
) -> None:
    endless = THREE_DAYS[1:2] if most == 1 else THREE_DAYS[1:]
    with run_function(FUNCTIONS / "partitioned" / "main.py", emulator_url=emulator.url, threads=4) as server:
        command = python_command("-c", INTERRUPTED, server.url, bucket, json.dumps(endless), str(most))
        with run_process(command, ready="(still here)", stop_signal=signal.SIGINT, stop_timeout=30) as dagster:
            for key in endless:
                dagster.wait_for_output(f"[{key}] still here")
            dagster.wait_for_output("Materialized value sales.")  # the first partition
        for _ in endless:
            server.child.wait_for_output("PipesCancelledError: Dagster has terminated the run")
    assert dagster.process.returncode == 1  # it ended by itself
    names = [blob.name for blob in storage_client.list_blobs(bucket)]
    assert len([name for name in names if name.endswith("/1.json")]) == 1 + len(endless)
    assert len([name for name in names if name.endswith("/cancel")]) == 1  # all functions read the same marker


@pytest.mark.filterwarnings("ignore:Specifying a partitions_def on an AssetCheckSpec")
def test_checks_are_evaluated_for_each_partition_and_for_all(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    specs = [AssetCheckSpec("complete", asset=SALES), AssetCheckSpec("by_day", asset=SALES, partitions_def=DAYS)]
    event = {"checks": ["complete", "by_day"], "bad": THREE_DAYS[:1]}
    result = run_asset(instance, client, check_specs=specs, event=event)
    assert result.success
    evaluations = check_evaluations(instance, result.run_id)
    for name in ("complete", "by_day"):
        of_check = [each for each in evaluations if each.check_name == name]
        outcomes = {
            each.partition: (each.passed, day and day.value) for each in of_check for day in [each.metadata.get("day")]
        }
        assert outcomes == {
            THREE_DAYS[0]: (False, THREE_DAYS[0]),
            THREE_DAYS[1]: (True, THREE_DAYS[1]),
            THREE_DAYS[2]: (True, THREE_DAYS[2]),
            None: (False, None),
        }
        assert len(of_check) == 4
        assert of_check[-1].description == "Evaluated for 3 partitions. Failed for 1: '2024-01-03'."
        key = AssetCheckKey(SALES, name)
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        assert {each.status.value for each in history} == {"SUCCEEDED", "FAILED"}  # none is only planned
        assert (history[0].partition, history[0].status.value) == (None, "FAILED")


def test_a_blocking_check_that_fails_for_a_partition_fails_the_step(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    specs = [AssetCheckSpec("complete", asset=SALES, blocking=True)]
    result = run_asset(instance, client, check_specs=specs, event={"checks": ["complete"], "bad": THREE_DAYS[:1]})
    assert "1 blocking asset check failed with ERROR severity" in step_error(result, "sales")
    assert instance.get_materialized_partitions(SALES) == set(THREE_DAYS)


def test_checks_have_a_result_for_all_partitions_of_a_step_that_fails(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    specs = [AssetCheckSpec("complete", asset=SALES)]
    event = {"checks": ["complete"], "bad": THREE_DAYS[:1], "fails": THREE_DAYS[1:2]}
    result = run_asset(instance, client, check_specs=specs, event=event)
    assert not result.success
    *each_day, of_all = [(each.partition, each.passed) for each in check_evaluations(instance, result.run_id)]
    assert sorted(each_day, key=str) == [(THREE_DAYS[0], False), (THREE_DAYS[1], True), (THREE_DAYS[2], True)]
    assert of_all == (None, False)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([("report_asset_materialization", {"asset_key": "other"})], id="another asset"),
        pytest.param([("report_asset_materialization", {"asset_key": "sales"})] * 2, id="an asset twice"),
        pytest.param([("report_asset_check", {"asset_key": "sales", "check_name": "other"})], id="another check"),
        pytest.param([("report_asset_materialization", {"asset_key": "sales", "partition": "x"})], id="a partition"),
    ],
)
def test_a_function_that_reports_what_the_step_does_not_have_fails_its_partition(
    instance: DagsterInstance, messages: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    """Pipes for Python refuses this in the function. Other languages may not."""
    defaults: dict[str, dict[str, Any]] = {
        "report_asset_materialization": {"metadata": None, "data_version": None},
        "report_asset_check": {"passed": True, "severity": "ERROR", "metadata": {}},
    }

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        if pipes.partition_key == THREE_DAYS[1]:
            for method, params in messages:
                pipes._write_message(method, {**defaults[method], **params})  # type: ignore[arg-type]  # noqa: SLF001

    result = run_asset(instance, LocalPipesCloudFunctionClient(functions={"partitioned": main}))
    assert failure_text(result, "sales").startswith("1 of 3 partitions failed (1 PipesCloudFunctionMessagesError): ")
    assert instance.get_materialized_partitions(SALES) == {THREE_DAYS[0], THREE_DAYS[2]}
    assert check_evaluations(instance, result.run_id) == []


def test_direct_invocation(client: LocalPipesCloudFunctionClient) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        return cloud_function.run_partitions(context=context, function="partitioned").get_materialize_result()

    with build_asset_context(partition_key_range=PartitionKeyRange(THREE_DAYS[0], THREE_DAYS[-1])) as context:
        assert sales(context, client) == MaterializeResult(asset_key=SALES, check_results=[])
    assert sorted(str(call.context["partition_key"]) for call in client.calls) == THREE_DAYS


def not_partitioned(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
    cloud_function.run_partitions(context=context, function="partitioned")


@pytest.mark.parametrize(
    ("asset_def", "arguments", "got"),
    [
        pytest.param(asset(name="sales")(not_partitioned), {}, "an asset without partitions", id="no partitions"),
        pytest.param(
            asset(name="sales", partitions_def=DAYS)(not_partitioned), {}, "a run without partitions", id="no partition"
        ),
        pytest.param(
            asset(name="sales", partitions_def=DAYS)(not_partitioned),
            {"tags": tags(["2024-01-05", "2024-01-03"])},
            "no partition in PartitionKeyRange(start='2024-01-05', end='2024-01-03')",
            id="an empty range",
        ),
    ],
)
def test_an_asset_without_partitions_is_refused(
    client: LocalPipesCloudFunctionClient, asset_def: AssetsDefinition, arguments: Mapping[str, Any], got: str
) -> None:
    result = materialize([asset_def], resources={"cloud_function": client}, raise_on_error=False, **arguments)
    text = failure_text(result, "sales")
    assert text.startswith(
        f"Expected `run_partitions` in a step that materializes partitions of assets, got {got}.\nFix: "
    )
    assert client.calls == []


def test_an_op_is_refused(client: LocalPipesCloudFunctionClient, quote: Quote) -> None:
    @op(name="sales")
    def sales(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        cloud_function.run_partitions(context=context, function="partitioned")

    @job(partitions_def=DAYS, resource_defs={"cloud_function": client})
    def sales_job() -> None:
        sales()

    result = sales_job.execute_in_process(partition_key="2024-01-03", raise_on_error=False)
    assert "got a step without assets.\nFix: Call `run` in an op or an asset check." in failure_text(result, "sales")
    quote("no_partitions", failure_text(result, "sales"))


def test_an_asset_check_is_refused(client: LocalPipesCloudFunctionClient) -> None:
    @asset(partitions_def=DAYS)
    def sales() -> MaterializeResult:
        return MaterializeResult()

    @asset_check(asset=sales)
    def complete(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> AssetCheckResult:
        cloud_function.run_partitions(context=context, function="partitioned")
        return AssetCheckResult(passed=True)

    resources = {"cloud_function": client}
    result = materialize([sales, complete], resources=resources, tags=tags(THREE_DAYS), raise_on_error=False)
    assert "got a step without assets." in failure_text(result, "sales_complete")


def test_the_inner_op_of_a_graph_backed_asset_is_refused_and_its_last_op_is_not(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    @op
    def inner(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> int:
        with pytest.raises(PipesCloudFunctionRequestError, match="got an inner op of a graph-backed asset"):
            cloud_function.run_partitions(context=context, function="partitioned")
        return 1

    @op
    def last(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient, _: int) -> Any:
        return cloud_function.run_partitions(context=context, function="partitioned").get_materialize_result()

    @graph_asset(partitions_def=DAYS)
    def sales() -> Any:
        return last(inner())

    result = run_assets(instance, client, [sales])
    assert result.success
    assert reported(instance, result.run_id) == expected(THREE_DAYS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"function": "partitioned", "event": [1]}, "event"),
        ({"function": "partitioned", "function_url": "https://x"}, "function"),
        ({"function": "partitioned", "keys": ["a"]}, "got 'keys'"),
        ({"function": "misspelt"}, "misspelt"),
    ],
)
def test_wrong_arguments_are_refused_once_and_not_for_each_partition(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, arguments: dict[str, Any], text: str
) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        cloud_function.run_partitions(context=context, **arguments)

    result = run_assets(instance, client, [sales])
    assert text in failure_text(result, "sales")
    assert "partitions failed" not in failure_text(result, "sales")
