"""A function that computes a range reports each partition by itself: each has the events of its own."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetsDefinition,
    AssetSpec,
    DagsterInstance,
    DataVersion,
    DynamicPartitionsDefinition,
    ExecuteInProcessResult,
    HourlyPartitionsDefinition,
    MarkdownMetadataValue,
    MaterializeResult,
    MultiPartitionsDefinition,
    PartitionKeyRange,
    PartitionsDefinition,
    ReexecutionOptions,
    RetryPolicy,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    build_asset_context,
    execute_job,
    instance_for_test,
    materialize,
    multi_asset,
    open_pipes_session,
    reconstructable,
)
from dagster_gcp.pipes import PipesGCSMessageReader
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function, report_partition_materialization
from gcf_pipes._shared.protocol import PARTITION_KEY, SessionPrefix
from google.cloud import storage

from dagster_gcf_pipes import (
    PipesCloudFunctionClient,
    PipesCloudFunctionRaisedError,
    PipesCloudStorageMessageReader,
)
from dagster_gcf_pipes._messages.injector import InjectorSession
from dagster_gcf_pipes.local import Emulator, run_function
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.conftest import FUNCTIONS
from tests.dagster_runs import failure_text, materializations, step_error
from tests.functions.by_partition.main import main as by_partition
from tests.integration import killed_step_job
from tests.integration.partition_ranges import DAYS, ODD_KEYS, SALES, THREE_DAYS, essence, expected, run_assets, tags
from tests.quotes import Quote
from tests.waiting import in_background, wait_until


@pytest.fixture
def client() -> LocalPipesCloudFunctionClient:
    return LocalPipesCloudFunctionClient(functions={"by_partition": by_partition})


def run_asset(
    instance: DagsterInstance,
    client: PipesCloudFunctionClient,
    reported: Sequence[str] = THREE_DAYS,
    *,
    keys: Sequence[str] = THREE_DAYS,
    definition: PartitionsDefinition[Any] | None = DAYS,
    event: Mapping[str, Any] | None = None,
    others: Sequence[AssetsDefinition] = (),
    **arguments: Any,
) -> ExecuteInProcessResult:
    """Materialize a range of an asset in one run, with one call whose function reports these partitions."""

    @asset(partitions_def=definition, name="sales", **arguments)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        given = {"partitions": reported, **(event or {})}
        return cloud_function.run(context=context, function="by_partition", event=given).get_materialize_result()

    return run_assets(instance, client, [sales, *others], keys)


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        pytest.param(DAYS, THREE_DAYS, id="days"),
        pytest.param(
            HourlyPartitionsDefinition("2024-10-27-00:00", end_date="2024-10-28-00:00", timezone="Europe/Berlin"),
            ["2024-10-27-01:00", "2024-10-27-02:00", "2024-10-27-02:00+0100", "2024-10-27-03:00"],
            id="hours, the clock goes back",
        ),
        pytest.param(StaticPartitionsDefinition(ODD_KEYS), ODD_KEYS, id="static, odd characters"),
        pytest.param(DynamicPartitionsDefinition(name="customers"), ["zoe", "adam", "mia"], id="dynamic"),
        pytest.param(
            MultiPartitionsDefinition({"day": DAYS, "shade": StaticPartitionsDefinition(["dark", "light"])}),
            ["2024-01-03|dark", "2024-01-03|light", "2024-01-04|dark", "2024-01-04|light"],
            id="two dimensions",
        ),
        pytest.param(DAYS, THREE_DAYS[:1], id="one day"),
    ],
)
def test_each_partition_has_its_own_materialization(
    instance: DagsterInstance,
    client: LocalPipesCloudFunctionClient,
    definition: PartitionsDefinition[Any],
    keys: list[str],
) -> None:
    instance.add_dynamic_partitions("customers", ["zoe", "adam", "mia"])
    result = run_asset(instance, client, keys, keys=keys, definition=definition)
    assert result.success
    events = materializations(instance, result.run_id)
    assert list(map(essence, events)) == expected(keys)
    assert instance.get_materialized_partitions(SALES) == set(keys)
    assert len(client.calls) == 1


def test_a_partition_is_shown_while_the_function_runs(
    instance: DagsterInstance, emulator: Emulator, bucket: str, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    client = PipesCloudFunctionClient(bucket=bucket)

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = {"partitions": THREE_DAYS, "pauses_before": 2, "hold": str(hold)}
        return cloud_function.run(context=context, function_url=server.url, event=event).get_materialize_result()

    with run_function(FUNCTIONS / "by_partition", emulator_url=emulator.url) as server:
        run = in_background(lambda: run_assets(instance, client, [sales]))
        wait_until(lambda: instance.get_materialized_partitions(SALES) == set(THREE_DAYS[:2]))
        hold.unlink()
        assert run.result(60).success
    assert list(map(essence, materializations(instance, run.result().run_id))) == expected(THREE_DAYS)


def test_a_report_has_the_metadata_of_the_function_and_what_is_known_of_the_call(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    first, *_ = materializations(instance, run_asset(instance, client).run_id)
    assert first.metadata["note"] == MarkdownMetadataValue("**2024-01-03**")
    assert first.metadata["cloud_function/start"].value in {"cold", "warm"}
    assert "cloud_function/duration_seconds" not in first.metadata


def test_versions_and_provenance_are_those_that_dagster_adds(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    @asset
    def stations() -> None: ...

    @asset(name="by_dagster", partitions_def=DAYS, deps=[stations], code_version="7")
    def by_dagster() -> MaterializeResult:
        return MaterializeResult(data_version=DataVersion("version of 2024-01-03"))

    materialize([stations], instance=instance)
    result = run_asset(instance, client, deps=[stations], code_version="7", others=[by_dagster])
    first = {event.asset_key: dict(event.tags or {}) for event in reversed(materializations(instance, result.run_id))}
    assert first[SALES].pop("cloud_function/session")
    assert first[SALES] == first[AssetKey("by_dagster")]


def test_custom_messages_are_without_the_reports(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    seen: list[Any] = []

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        invocation = cloud_function.run(context=context, function="by_partition", event={"partitions": THREE_DAYS})
        seen.extend(invocation.get_custom_messages())
        return invocation.get_materialize_result()

    assert run_assets(instance, client, [sales]).success
    assert seen == [{"did": 3}]


@pytest.mark.parametrize(
    "returned",
    [
        pytest.param(lambda invocation: invocation.get_results(), id="the results"),
        pytest.param(lambda invocation: invocation.get_results(implicit_materializations=False), id="none implicit"),
        pytest.param(lambda invocation: invocation.get_materialize_result(), id="the result"),
        pytest.param(lambda _: MaterializeResult(metadata={"rows": 1}), id="a result of its own"),
    ],
)
def test_no_partition_is_materialized_twice_whatever_the_asset_returns(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, returned: Any
) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        event = {"partitions": THREE_DAYS}
        return returned(cloud_function.run(context=context, function="by_partition", event=event))

    result = run_assets(instance, client, [sales])
    assert result.success
    assert list(map(essence, materializations(instance, result.run_id))) == expected(THREE_DAYS)


def test_steps_downstream_run_in_the_same_run(instance: DagsterInstance, client: LocalPipesCloudFunctionClient) -> None:
    @asset(partitions_def=DAYS, deps=[SALES])
    def totals() -> MaterializeResult:
        return MaterializeResult()

    result = run_asset(instance, client, others=[totals])
    assert [event.partition for event in result.asset_materializations_for_node("totals")] == THREE_DAYS


def test_a_step_fails_without_some_partitions_and_the_others_stay(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient, quote: Quote
) -> None:
    @asset(partitions_def=DAYS, deps=[SALES])
    def totals() -> None: ...

    result = run_asset(instance, client, THREE_DAYS[1:2], others=[totals])
    assert instance.get_materialized_partitions(SALES) == {THREE_DAYS[1]}
    assert not result.success
    assert not instance.get_materialized_partitions(totals.key)
    quote("partitions_not_reported", failure_text(result, "sales"))


def test_a_step_with_missing_partitions_is_called_anew_by_its_retry(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    result = run_asset(instance, client, THREE_DAYS[:2], retry_policy=RetryPolicy(max_retries=1))
    assert not result.success
    assert len(client.calls) == 2


def test_partitions_that_were_reported_before_a_failure_stay(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    result = run_asset(instance, client, THREE_DAYS[:2], event={"fails": True})
    assert failure_text(result, "sales").startswith("The function raised ConnectionError")
    assert list(map(essence, materializations(instance, result.run_id))) == expected(THREE_DAYS[:2])
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "[pipes] the partitions that the function had reported stay materialized: 2 of sales" in lines


def test_a_step_that_goes_on_after_a_failed_call_claims_no_other_partition(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = {"partitions": THREE_DAYS[:1], "fails": True}
        with pytest.raises(PipesCloudFunctionRaisedError):
            cloud_function.run(context=context, function="by_partition", event=event)
        return MaterializeResult()

    assert run_assets(instance, client, [sales]).success
    assert instance.get_materialized_partitions(SALES) == {THREE_DAYS[0]}


def test_a_retry_after_a_failure_reports_what_it_computes_again(instance: DagsterInstance) -> None:
    calls: list[str] = []

    @pipes_function
    def main(request: Any, pipes: PipesContext) -> None:
        calls.append(pipes.run_id)
        for day in THREE_DAYS:
            report_partition_materialization(pipes, day, metadata={"call": len(calls)})
            if len(calls) == 1:
                raise ConnectionError("once")

    client = LocalPipesCloudFunctionClient(functions={"by_partition": main})
    result = run_asset(instance, client, retry_policy=RetryPolicy(max_retries=1))
    assert result.success
    logged = [(event.partition, event.metadata["call"].value) for event in materializations(instance, result.run_id)]
    assert logged == [(THREE_DAYS[0], 1), *((day, 2) for day in THREE_DAYS)]


def test_several_assets(instance: DagsterInstance, client: LocalPipesCloudFunctionClient) -> None:
    """An asset without partitions in the step is materialized as always."""
    specs = [AssetSpec("a", partitions_def=DAYS), AssetSpec("b", partitions_def=DAYS), AssetSpec("total")]
    result = run_multi_asset(instance, client, specs, {"assets": ["a", "b"]})
    assert result.success
    events = materializations(instance, result.run_id)
    for name in "ab":
        assert [essence(each) for each in events if each.asset_key == AssetKey(name)] == expected(THREE_DAYS)
    assert [each.partition for each in events if each.asset_key == AssetKey("total")] == [None]


def run_multi_asset(
    instance: DagsterInstance, client: PipesCloudFunctionClient, specs: Sequence[AssetSpec], event: Mapping[str, Any]
) -> ExecuteInProcessResult:
    @multi_asset(specs=specs, name="several")
    def several(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        given = {"partitions": THREE_DAYS, **event}
        yield from cloud_function.run(context=context, function="by_partition", event=given).get_results()

    return run_assets(instance, client, [several])


def test_an_asset_of_which_nothing_was_reported_is_not_claimed(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    specs = [AssetSpec("a", partitions_def=DAYS), AssetSpec("b", partitions_def=DAYS)]
    result = run_multi_asset(instance, client, specs, {"assets": ["a"]})
    assert "did not yield or return expected outputs {'b'}" in step_error(result, "several")
    assert instance.get_materialized_partitions(AssetKey("a")) == set(THREE_DAYS)
    assert instance.get_materialized_partitions(AssetKey("b")) == set()


def test_an_asset_can_be_reported_as_a_whole_beside_another(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    specs = [AssetSpec("a", partitions_def=DAYS), AssetSpec("b", partitions_def=DAYS)]
    result = run_multi_asset(instance, client, specs, {"assets": ["a"], "whole": ["b"]})
    assert result.success
    events = materializations(instance, result.run_id)
    versions = {each.partition: essence(each)[2] for each in events if each.asset_key == AssetKey("b")}
    assert versions == dict.fromkeys(THREE_DAYS, "whole")


def test_two_calls_of_a_step_report_the_partitions_of_two_assets(
    instance: DagsterInstance, client: LocalPipesCloudFunctionClient
) -> None:
    @multi_asset(specs=[AssetSpec("a", partitions_def=DAYS), AssetSpec("b", partitions_def=DAYS)])
    def several(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        for name in "ab":
            event = {"partitions": THREE_DAYS, "assets": [name]}
            yield from cloud_function.run(context=context, function="by_partition", event=event).get_results()

    result = run_assets(instance, client, [several])
    assert result.success
    assert list(map(essence, materializations(instance, result.run_id))) == expected(THREE_DAYS) * 2


REPORT = {"asset_key": "sales", "partition": THREE_DAYS[0], "metadata": None, "data_version": None}
WHOLE = {"asset_key": "sales", "metadata": None, "data_version": None}


@pytest.mark.parametrize(
    ("reports", "text"),
    [
        pytest.param([{"partition": "2024-01-06"}], "in this run, from '2024-01-03' to '2024-01-05', got", id="later"),
        pytest.param([{"partition": "2024-1-3"}], "Expected a partition of sales in this run", id="another form"),
        pytest.param([{}, {}], "Expected one report of each partition, got '2024-01-03' twice.", id="twice"),
        pytest.param([{"asset_key": "other"}], "this step's assets that have some: sales, got one of", id="asset"),
        pytest.param(
            [{"asset_key": "total"}], "this step's assets that have some: sales, got one of", id="no partitions"
        ),
        pytest.param([WHOLE, {}], "Expected a report of sales either as a whole or for each", id="whole, partition"),
        pytest.param([{}, WHOLE], "Expected a report of sales either as a whole or for each", id="partition, whole"),
        pytest.param([None], "to be an object, got null", id="null"),
        pytest.param([{"partition": 3}], "Expected 'partition' in", id="a number"),
        pytest.param([{"partition": "\ud800"}], "Unicode text without NUL", id="a lone surrogate"),
        pytest.param(
            [{"metadata": {"rows": {"raw_value": "x", "type": "int"}}}], "Dagster cannot handle", id="metadata"
        ),
    ],
)
def test_what_the_step_cannot_materialize_fails_the_call(
    instance: DagsterInstance, reports: Sequence[Mapping[str, Any] | None], text: str
) -> None:
    """`gcf_pipes` refuses some of it in the function. Other languages may not."""

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        for report in reports:
            if report is WHOLE:
                pipes._write_message("report_asset_materialization", WHOLE)  # noqa: SLF001
            else:
                pipes.report_custom_message({PARTITION_KEY: None if report is None else {**REPORT, **report}})

    client = LocalPipesCloudFunctionClient(functions={"by_partition": main})
    specs = [AssetSpec("sales", partitions_def=DAYS), AssetSpec("total")]
    result = run_multi_asset(instance, client, specs, {})
    assert failure_text(result, "several").startswith("Could not read and handle all messages of the function: ")
    assert text in failure_text(result, "several")
    claimed = set(THREE_DAYS) if reports[0] is WHOLE else {THREE_DAYS[0]} if len(reports) > 1 else set()
    assert instance.get_materialized_partitions(SALES) == claimed


def raw(_: Any, pipes: PipesContext) -> None:
    pipes.report_custom_message({PARTITION_KEY: REPORT})


def test_a_call_for_one_partition_takes_no_report(instance: DagsterInstance) -> None:
    """`gcf_pipes` reports the asset in place of it."""

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        return cloud_function.run_partitions(context=context, function="raw").get_materialize_result()

    client = LocalPipesCloudFunctionClient(functions={"raw": pipes_function(raw)})
    result = run_assets(instance, client, [sales])
    assert failure_text(result, "sales").startswith("3 of 3 partitions failed (3 PipesCloudFunctionMessagesError)")
    assert "reserved key 'gcf_pipes/partition_materialization'" in failure_text(result, "sales")
    assert instance.get_materialized_partitions(SALES) == set()


def test_run_partitions_takes_the_report_of_its_partition(instance: DagsterInstance) -> None:
    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        key = pipes.partition_key
        report_partition_materialization(pipes, key, metadata={"day": key}, data_version=f"version of {key}")

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        return cloud_function.run_partitions(context=context, function="main").get_materialize_result()

    result = run_assets(instance, LocalPipesCloudFunctionClient(functions={"main": main}), [sales])
    assert result.success
    assert sorted(map(essence, materializations(instance, result.run_id))) == expected(THREE_DAYS)


def test_steps_without_partitions_of_their_own(instance: DagsterInstance) -> None:
    client = LocalPipesCloudFunctionClient(functions={"raw": pipes_function(raw)})

    @asset(partitions_def=DAYS)
    def sales() -> MaterializeResult:
        return MaterializeResult()

    @asset_check(asset=sales)
    def complete(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> AssetCheckResult:
        return cloud_function.run(context=context, function="raw").get_asset_check_result()

    @asset
    def total(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        return cloud_function.run(context=context, function="raw").get_materialize_result()

    result = run_assets(instance, client, [sales, complete, total])
    assert "assets, got a step without assets.\nFix: Report the whole" in failure_text(result, "sales_complete")
    assert "assets, got an asset without partitions." in failure_text(result, "total")


def test_direct_invocation(client: LocalPipesCloudFunctionClient) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = {"partitions": THREE_DAYS}
        return cloud_function.run(context=context, function="by_partition", event=event).get_materialize_result()

    with build_asset_context(partition_key_range=PartitionKeyRange(THREE_DAYS[0], THREE_DAYS[-1])) as context:
        result = sales(context, client)
        assert isinstance(result, MaterializeResult)
        events = [
            event for event in context.op_execution_context.get_events() if isinstance(event, AssetMaterialization)
        ]
    assert result.asset_key == SALES
    assert list(map(essence, events)) == expected(THREE_DAYS)


@pytest.mark.parametrize("reader", [PipesCloudStorageMessageReader, PipesGCSMessageReader])
def test_a_reader_that_takes_no_partitions_refuses_them_in_the_function(
    emulator: Emulator, bucket: str, reader: Any, storage_client: storage.Client
) -> None:
    """Dagster would materialize the whole range."""

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext) -> Any:
        range_of_run = {"start": THREE_DAYS[0], "end": THREE_DAYS[-1]}
        injector = InjectorSession(
            SessionPrefix(bucket, "x"), lambda: storage_client, 2**20, (), {"partition_key_range": range_of_run}
        )
        with open_pipes_session(
            context=context, context_injector=injector, message_reader=reader(bucket=bucket, client=storage_client)
        ) as session:
            body = {"partitions": THREE_DAYS, **session.get_bootstrap_env_vars()}
            response = requests.post(server.url, json=body, timeout=60)
        assert response.status_code == 500
        raise RuntimeError("the function has failed")

    with run_function(FUNCTIONS / "by_partition", emulator_url=emulator.url) as server:
        with DagsterInstance.ephemeral() as instance:
            result = materialize([sales], instance=instance, tags=tags(THREE_DAYS), raise_on_error=False)
            assert "the function has failed" in step_error(result, "sales")
            assert instance.get_materialized_partitions(SALES) == set()
        server.child.wait_for_output("Expected a message reader that takes `report_partition_materialization`")


@pytest.fixture
def killed_job(emulator: Emulator, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that holds the function of `killed_step_job`."""
    (tmp_path / "hold").touch()
    with run_function(FUNCTIONS / "by_partition", emulator_url=emulator.url) as server:
        settings = {"HOLD": str(tmp_path / "hold"), "FUNCTION_URL": server.url, "BUCKET": bucket}
        for name, value in settings.items():
            monkeypatch.setenv(f"TEST_{name}", value)
        yield tmp_path / "hold"


@pytest.fixture
def instance_on_disk(tmp_path: Path) -> Iterator[DagsterInstance]:
    (tmp_path / "home").mkdir()
    with instance_for_test(temp_dir=str(tmp_path / "home")) as instance:
        yield instance


@pytest.mark.usefixtures("killed_job")
def test_a_retry_that_adopts_the_function_doubles_no_partition(instance_on_disk: DagsterInstance) -> None:
    job = reconstructable(killed_step_job.with_step_retries)
    with execute_job(job, instance_on_disk, tags=tags(THREE_DAYS)) as result:
        assert result.success
    lines = [entry.user_message for entry in instance_on_disk.all_logs(result.run_id)]
    assert any(line.startswith("[pipes] adopting the call") for line in lines)
    assert list(map(essence, materializations(instance_on_disk, result.run_id))) == expected(THREE_DAYS)


@pytest.mark.usefixtures("killed_job")
def test_another_run_that_adopts_the_function_materializes_all_reported_partitions(
    instance_on_disk: DagsterInstance,
) -> None:
    """It has planned them again: without events of its own, Dagster would show them as failed if it fails."""
    job = reconstructable(killed_step_job.without_retries)
    with execute_job(job, instance_on_disk, tags=tags(THREE_DAYS)) as killed:
        assert not killed.success
    assert list(map(essence, materializations(instance_on_disk, killed.run_id))) == expected(THREE_DAYS[:2])
    options = ReexecutionOptions.from_failure(killed.run_id, instance_on_disk)
    again = {**tags(THREE_DAYS), "dagster/is_resume_retry": "true"}
    with execute_job(job, instance_on_disk, tags=again, reexecution_options=options) as result:
        assert result.success
    (adopted_from,) = {
        event.metadata["cloud_function/adopted_from"].value
        for event in materializations(instance_on_disk, result.run_id)
    }
    assert adopted_from == killed.run_id
    assert list(map(essence, materializations(instance_on_disk, result.run_id))) == expected(THREE_DAYS)
