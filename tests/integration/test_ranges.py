"""A step with a range of partitions: the function learns its range, in the form that Pipes has for it."""

from collections.abc import Sequence
from typing import Any

import pytest
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetExecutionContext,
    AssetSpec,
    DagsterInstance,
    DailyPartitionsDefinition,
    Definitions,
    DynamicPartitionsDefinition,
    HourlyPartitionsDefinition,
    MaterializeResult,
    MonthlyPartitionsDefinition,
    MultiPartitionsDefinition,
    PartitionKeyRange,
    PartitionsDefinition,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    build_asset_context,
    materialize,
    multi_asset,
)

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, run_function
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient, invoke
from tests.conftest import FUNCTIONS
from tests.functions.partitioned.main import main as partitioned
from tests.integration.partition_ranges import DAYS, ODD_KEYS, tags

WEEKDAYS = DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01", exclusions=["0 0 * * 6", "0 0 * * 0"])
COLORS = StaticPartitionsDefinition(["red", *ODD_KEYS])
CUSTOMERS = DynamicPartitionsDefinition(name="customers")
SHADES = StaticPartitionsDefinition(["dark", "light"])
SHADES_BY_DAY = MultiPartitionsDefinition({"day": DAYS, "shade": SHADES})
SHADES_BY_CUSTOMER = MultiPartitionsDefinition({"color": StaticPartitionsDefinition(["red", "blue"]), "shade": SHADES})
AUTUMN = HourlyPartitionsDefinition("2024-10-27-00:00", end_date="2024-10-28-00:00", timezone="Europe/Berlin")
SPRING = HourlyPartitionsDefinition("2024-03-31-00:00", end_date="2024-04-01-00:00", timezone="Europe/Berlin")
MONTHS = MonthlyPartitionsDefinition("2024-01-01", end_date="2025-01-01")


@pytest.fixture
def client() -> LocalPipesCloudFunctionClient:
    return LocalPipesCloudFunctionClient(functions={"partitioned": partitioned})


def what_the_function_knows(
    definition: PartitionsDefinition[Any],
    first: str,
    last: str,
    *,
    client: PipesCloudFunctionClient,
    function_url: str | None = None,
    **arguments: Any,
) -> Any:
    """Materialize a range in one run; return what the function answered."""
    answers: list[Any] = []

    @asset(partitions_def=definition)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        function = None if function_url else "partitioned"
        invocation = cloud_function.run(context=context, function=function, function_url=function_url, **arguments)
        answers.append(invocation.response.json())
        return invocation.get_materialize_result()

    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("customers", ["zoe", "adam", "mia"])
        materialize([sales], instance=instance, resources={"cloud_function": client}, tags=tags([first, last]))
    return answers[0]


@pytest.mark.parametrize(
    ("definition", "keys", "window"),
    [
        pytest.param(
            DAYS,
            ("2024-01-03", "2024-01-05"),
            ("2024-01-03T00:00:00+00:00", "2024-01-06T00:00:00+00:00"),
            id="days",
        ),
        pytest.param(
            MONTHS,
            ("2024-02-01", "2024-04-01"),
            ("2024-02-01T00:00:00+00:00", "2024-05-01T00:00:00+00:00"),
            id="months",
        ),
        pytest.param(
            AUTUMN,
            ("2024-10-27-01:00", "2024-10-27-02:00+0100"),
            ("2024-10-27T01:00:00+02:00", "2024-10-27T03:00:00+01:00"),
            id="hours, the clock goes back",
        ),
        pytest.param(
            SPRING,
            ("2024-03-31-01:00", "2024-03-31-03:00"),
            ("2024-03-31T01:00:00+01:00", "2024-03-31T04:00:00+02:00"),
            id="hours, the clock goes forward",
        ),
    ],
)
def test_a_range_in_time_has_its_keys_and_its_window(
    client: PipesCloudFunctionClient,
    definition: PartitionsDefinition[Any],
    keys: tuple[str, str],
    window: tuple[str, str],
) -> None:
    assert what_the_function_knows(definition, *keys, client=client) == {
        "range": {"start": keys[0], "end": keys[1]},
        "window": {"start": window[0], "end": window[1]},
        "extras": {},
    }


@pytest.mark.parametrize(
    ("definition", "first", "last", "keys"),
    [
        pytest.param(COLORS, ODD_KEYS[0], ODD_KEYS[-1], ODD_KEYS, id="static, odd characters"),
        pytest.param(CUSTOMERS, "zoe", "mia", ["zoe", "adam", "mia"], id="dynamic, in the order of their creation"),
        pytest.param(
            SHADES_BY_CUSTOMER,
            "red|dark",
            "blue|light",
            ["red|dark", "red|light", "blue|dark", "blue|light"],
            id="two dimensions",
        ),
    ],
)
def test_a_range_that_only_dagster_can_list_has_its_keys_in_the_extras(
    client: PipesCloudFunctionClient,
    definition: PartitionsDefinition[Any],
    first: str,
    last: str,
    keys: Sequence[str],
) -> None:
    assert what_the_function_knows(definition, first, last, client=client) == {
        "range": {"start": first, "end": last},
        "window": None,
        "extras": {"partition_keys": keys},
    }


def test_a_range_with_a_dimension_in_time_has_its_window_and_its_keys(client: PipesCloudFunctionClient) -> None:
    assert what_the_function_knows(SHADES_BY_DAY, "2024-01-03|light", "2024-01-04|light", client=client) == {
        "range": {"start": "2024-01-03|light", "end": "2024-01-04|light"},
        "window": {"start": "2024-01-03T00:00:00+00:00", "end": "2024-01-05T00:00:00+00:00"},
        "extras": {"partition_keys": ["2024-01-03|light", "2024-01-04|light"]},
    }


def test_a_range_in_time_with_gaps_has_its_keys_in_the_extras(client: PipesCloudFunctionClient) -> None:
    known = what_the_function_knows(WEEKDAYS, "2024-01-05", "2024-01-09", client=client)
    assert known["extras"] == {"partition_keys": ["2024-01-05", "2024-01-08", "2024-01-09"]}


def test_extras_of_the_user_win(client: PipesCloudFunctionClient) -> None:
    known = what_the_function_knows(CUSTOMERS, "zoe", "mia", client=client, extras={"partition_keys": "mine", "a": 1})
    assert known["extras"] == {"partition_keys": "mine", "a": 1}


@pytest.mark.parametrize(
    ("definition", "key", "window"),
    [
        pytest.param(DAYS, "2024-01-03", {"start": "2024-01-03T00:00:00+00:00", "end": "2024-01-04T00:00:00+00:00"}),
        pytest.param(CUSTOMERS, "adam", None),
        pytest.param(SHADES_BY_CUSTOMER, "red|dark", None),
    ],
)
def test_a_range_of_one_partition_is_a_single_partition(
    client: PipesCloudFunctionClient, definition: PartitionsDefinition[Any], key: str, window: Any
) -> None:
    """Dagster launches a backfill of one partition so, if the policy is `single_run`."""
    assert what_the_function_knows(definition, key, key, client=client) == {
        "range": {"start": key, "end": key},
        "window": window,
        "extras": {},
        "partition_key": key,
    }


def test_a_range_over_http(emulator: Emulator, bucket: str) -> None:
    """The same with a function in a process of its own. The context of a long range goes through the bucket."""
    client = PipesCloudFunctionClient(bucket=bucket, inline_context_limit=500)
    with run_function(FUNCTIONS / "partitioned" / "main.py", emulator_url=emulator.url) as server:
        known = what_the_function_knows(COLORS, ODD_KEYS[0], ODD_KEYS[-1], client=client, function_url=server.url)
    assert known["range"] == {"start": ODD_KEYS[0], "end": ODD_KEYS[-1]}
    assert known["extras"] == {"partition_keys": ODD_KEYS}


def test_assets_without_partitions_in_the_run_have_no_range(client: LocalPipesCloudFunctionClient) -> None:
    """Neither in a step of their own, nor do they take the range from a step that has both kinds."""

    @asset
    def stations(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        return cloud_function.run(context=context, function="partitioned").get_materialize_result()

    @multi_asset(specs=[AssetSpec("days", partitions_def=DAYS), AssetSpec("totals")])
    def both(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        yield from cloud_function.run(context=context, function="partitioned").get_results()

    days = tags(["2024-01-03", "2024-01-04"])
    result = materialize([stations, both], resources={"cloud_function": client}, tags=days)
    ranges = {tuple(call.context["asset_keys"] or ()): call.context["partition_key_range"] for call in client.calls}
    assert ranges == {("stations",): None, ("days", "totals"): {"start": "2024-01-03", "end": "2024-01-04"}}
    materialized = [
        (event.materialization.asset_key.to_user_string(), event.materialization.partition)
        for event in result.get_asset_materialization_events()
    ]
    assert sorted(materialized, key=str) == [
        ("days", "2024-01-03"),
        ("days", "2024-01-04"),
        ("stations", None),
        ("totals", None),
    ]


def test_a_check_in_the_run_knows_the_range(client: LocalPipesCloudFunctionClient) -> None:
    @asset(partitions_def=DAYS)
    def sales() -> MaterializeResult:
        return MaterializeResult()

    @asset_check(asset=sales)
    def complete(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> AssetCheckResult:
        event = {"reports": [], "checks": ["complete"], "checked": "sales"}
        return cloud_function.run(context=context, function="partitioned", event=event).get_asset_check_result()

    days = tags(["2024-01-03", "2024-01-04"])
    assert materialize([sales, complete], resources={"cloud_function": client}, tags=days).success
    assert client.calls[0].context["partition_key_range"] == {"start": "2024-01-03", "end": "2024-01-04"}


def test_steps_with_different_partitions_have_their_own_windows(client: LocalPipesCloudFunctionClient) -> None:
    """Only the implicit job of all assets may have them. It is the job of backfills."""
    hours = HourlyPartitionsDefinition("2024-01-01", fmt="%Y-%m-%d", end_date="2024-02-01")

    def calling(name: str, definition: PartitionsDefinition[Any]) -> Any:
        @asset(name=name, partitions_def=definition)
        def calls(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
            return cloud_function.run(context=context, function="partitioned").get_materialize_result()

        return calls

    assets = [calling("by_day", DAYS), calling("by_hour", hours)]
    job = Definitions(assets=assets, resources={"cloud_function": client}).resolve_implicit_global_asset_job_def()
    job.execute_in_process(tags=tags(["2024-01-03", "2024-01-04"]))
    windows = {str(call.context["asset_keys"]): call.context["partition_time_window"] for call in client.calls}
    assert windows == {
        "['by_day']": {"start": "2024-01-03T00:00:00+00:00", "end": "2024-01-05T00:00:00+00:00"},
        "['by_hour']": {"start": "2024-01-03T00:00:00+00:00", "end": "2024-01-04T01:00:00+00:00"},
    }


def test_direct_invocation_with_a_range(client: LocalPipesCloudFunctionClient) -> None:
    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        return cloud_function.run(context=context, function="partitioned").get_materialize_result()

    sales(build_asset_context(partition_key_range=PartitionKeyRange("2024-01-03", "2024-01-04")), client)
    assert client.calls[0].context["partition_time_window"] == {
        "start": "2024-01-03T00:00:00+00:00",
        "end": "2024-01-05T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("definition", "first", "last", "arguments"),
    [
        pytest.param(
            DAYS,
            "2024-01-03",
            "2024-01-05",
            {"partition_time_window": ("2024-01-03T00:00:00+00:00", "2024-01-06T00:00:00+00:00")},
            id="days",
        ),
        pytest.param(CUSTOMERS, "zoe", "mia", {"extras": {"partition_keys": ["zoe", "adam", "mia"]}}, id="dynamic"),
    ],
)
def test_invoke_builds_the_context_that_dagster_sends(
    client: LocalPipesCloudFunctionClient,
    definition: PartitionsDefinition[Any],
    first: str,
    last: str,
    arguments: dict[str, Any],
) -> None:
    sent = what_the_function_knows(definition, first, last, client=client)
    result = invoke(partitioned, asset_keys="sales", partition_key_range=(first, last), **arguments)
    assert result.response.get_json() == sent
