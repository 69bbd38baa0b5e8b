"""The example, as a user runs it: assets in Dagster, the function in functions-framework, an emulator."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from threading import Barrier
from typing import Any

import polars as pl
import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetExecutionContext,
    AssetMaterialization,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    asset,
    materialize,
)
from google.cloud import storage
from tasks.tables import replace_rows

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import EMBEDDED, FunctionServer, run_emulator, run_function
from examples.definitions import Locations, defs
from tests.dagster_runs import logged

EXAMPLE = Path(__file__).parent.parent / "cloud_function" / "main.py"
SOURCE = Path(__file__).parent.parent / "examples" / "data" / "weather.csv"
BUCKET = "example"


@pytest.fixture(scope="module")
def stack() -> Iterator[None]:
    """The emulator with the dataset in it, the function, and the environment that leads the example to both."""
    with (
        run_emulator(EMBEDDED) as emulator,
        run_function(EXAMPLE, emulator_url=emulator.url) as function,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("STORAGE_EMULATOR_HOST", emulator.url)
        environment.setenv("PIPES_BUCKET", BUCKET)
        environment.setenv("FUNCTION", "example")
        environment.setenv("GCF_PIPES_LOCAL_FUNCTIONS", json.dumps({"example": function.url}))
        environment.setenv("WEATHER_SOURCE_URI", f"gs://{BUCKET}/weather.csv")
        with closing(storage.Client(project="local")) as client:
            client.create_bucket(BUCKET).blob("weather.csv").upload_from_filename(SOURCE)
        yield


@pytest.fixture
def lake(stack: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lake without tables, in a directory that does not exist yet."""
    path = tmp_path / "new" / "lake"
    monkeypatch.setenv("LAKE_URI", str(path))
    return path


UseSource = Callable[[pl.DataFrame], None]


@pytest.fixture
def use_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseSource:
    """Gives the function other daily weather than the dataset's."""

    def use_source(rows: pl.DataFrame) -> None:
        rows.write_csv(tmp_path / "weather.csv")
        monkeypatch.setenv("WEATHER_SOURCE_URI", str(tmp_path / "weather.csv"))

    return use_source


def run_customers(rows: int, seed: int | None = None, instance: DagsterInstance | None = None) -> AssetMaterialization:
    config = {"ops": {"customers": {"config": {"rows": rows, **({} if seed is None else {"seed": seed})}}}}
    result = defs.resolve_job_def("customers_job").execute_in_process(run_config=config, instance=instance)
    (materialization,) = result.asset_materializations_for_node("customers")
    return materialization


def run_month(month: str) -> tuple[AssetMaterialization, dict[str, AssetCheckEvaluation]]:
    result = defs.resolve_job_def("monthly_weather_job").execute_in_process(partition_key=month)
    (materialization,) = result.asset_materializations_for_node("monthly_weather")
    return materialization, {check.check_name: check for check in result.get_asset_check_evaluations()}


def run_event(
    event: dict[str, Any], lake: Path, on_messages: Callable[[Any], None] = lambda _: None, **options: Any
) -> ExecuteInProcessResult:
    """Materialize an asset of a user's own that calls the example's function."""

    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient, locations: Locations) -> None:
        invocation = cloud_function.run(context=context, function=locations.function, event=event)
        on_messages(invocation.get_custom_messages())

    return materialize([orders], resources=defs.resources, raise_on_error=False, **options)


def failure(result: ExecuteInProcessResult) -> str:
    data = result.failure_data_for_node("orders")
    assert data
    assert data.error
    return data.error.to_string()


def function_lines(instance: DagsterInstance) -> list[str]:
    """Return the function's log lines of the only run."""
    (run,) = instance.get_runs()
    return logged(instance, run.run_id)


def values(entry: AssetMaterialization | AssetCheckEvaluation) -> dict[str, Any]:
    return {key: value.value for key, value in entry.metadata.items()}


def data_version(materialization: AssetMaterialization) -> str:
    assert materialization.tags
    return materialization.tags["dagster/data_version"]


def read_table(path: Path) -> pl.DataFrame:
    # The sort makes the comparison independent of the order of the files.
    return pl.read_delta(str(path)).sort(pl.all())


def test_definitions_can_be_loaded() -> None:
    Definitions.validate_loadable(defs)


def test_everything_that_the_ui_lists_has_a_description() -> None:
    listed = [
        *defs.resolve_all_asset_specs(),
        *(check for asset in defs.assets or () for check in asset.check_specs),  # type: ignore[union-attr]
        *(job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")),
        *(defs.schedules or ()),
    ]
    assert len(listed) == 7
    assert [thing for thing in listed if not thing.description] == []


def test_dataset_has_every_day_once_for_each_location() -> None:
    days = pl.read_csv(SOURCE, try_parse_dates=True).select("location", "date")
    expected = pl.DataFrame({"location": ["New York", "Seattle"]}).join(
        pl.DataFrame({"date": pl.date_range(date(2012, 1, 1), date(2015, 12, 31), eager=True)}), how="cross"
    )
    assert days.sort(pl.all()).equals(expected.sort(pl.all()))


def test_customers_are_appended_in_each_run(lake: Path) -> None:
    runs = run_customers(700), run_customers(30)
    first, second = map(values, runs)
    assert (first["rows"], first["dagster/row_count"], first["table_version"]) == (700, 700, 0)
    assert (second["rows"], second["dagster/row_count"], second["table_version"]) == (30, 730, 1)
    assert read_table(lake / "customers")["customer_id"].n_unique() == 730
    assert data_version(runs[0]) != data_version(runs[1])


def test_customers_materialization_tells_the_location_and_shows_rows(lake: Path) -> None:
    metadata = values(run_customers(10))
    assert metadata["location"] == str(lake / "customers")
    header, _, *rows = metadata["preview"].splitlines()
    assert header == "| name | city | country |"
    assert len(rows) == 5


def test_customers_of_the_same_seed_are_the_same(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_customers(600, seed=7)
    monkeypatch.setenv("LAKE_URI", f"{lake}-2")
    run_customers(600, seed=7)
    assert read_table(lake / "customers").equals(read_table(Path(f"{lake}-2/customers")))


def test_log_lines_have_no_timestamp_of_their_own(lake: Path, instance: DagsterInstance) -> None:
    """Dagster shows its own beside each line."""
    run_customers(1200, instance=instance)
    assert function_lines(instance) == [
        "generated 500 of 1200 customers",
        "generated 1000 of 1200 customers",
        "generated 1200 of 1200 customers",
        "appended 1200 customers; the table has 1200 now",
    ]


def test_a_single_customer_is_not_called_customers(lake: Path, instance: DagsterInstance) -> None:
    run_customers(1, instance=instance)
    assert function_lines(instance) == ["generated 1 of 1 customer", "appended 1 customer; the table has 1 now"]


def test_month_is_aggregated_per_location(lake: Path) -> None:
    run_month("2012-02-01")
    assert read_table(lake / "monthly_weather").to_dicts() == [
        {
            "month": date(2012, 2, 1),
            "location": location,
            "days": 29,
            "precipitation": precipitation,
            "temp_mean": temp_mean,
            "temp_min": temp_min,
            "temp_max": temp_max,
            "wind_mean": wind_mean,
        }
        # Computed with awk from the CSV file.
        for location, precipitation, temp_mean, temp_min, temp_max, wind_mean in [
            ("New York", 32.0, 4.64, -6.1, 17.8, 5.403),
            ("Seattle", 92.3, 6.24, -2.2, 16.1, 3.903),
        ]
    ]


def test_month_materialization_has_a_number_to_plot(lake: Path) -> None:
    january, _ = run_month("2012-01-01")
    july, _ = run_month("2012-07-01")
    assert values(january)["rows"] == 2
    assert values(january)["preview"].splitlines()[0] == "| location | °C | mm |"
    assert values(july)["dagster/row_count"] == 4
    assert values(january)["mean_temperature_celsius"] == pytest.approx(3.5, abs=1.5)
    assert values(july)["mean_temperature_celsius"] == pytest.approx(22, abs=2)
    assert january.partition == "2012-01-01"


def test_checks_of_a_sound_month_pass(lake: Path) -> None:
    _, checks = run_month("2015-12-01")
    assert {name: check.passed for name, check in checks.items()} == {"every_day_once": True, "plausible_values": True}
    assert values(checks["every_day_once"])["missing"] == {}
    assert values(checks["plausible_values"])["implausible_days"] == 0


def test_month_that_is_materialized_again_is_replaced(lake: Path) -> None:
    run_month("2012-01-01")
    first, _ = run_month("2012-02-01")
    before = read_table(lake / "monthly_weather")
    second, _ = run_month("2012-02-01")
    assert read_table(lake / "monthly_weather").equals(before)
    assert data_version(second) == data_version(first)
    assert values(second)["table_version"] == values(first)["table_version"] + 1


def test_months_that_run_at_the_same_time_all_arrive(lake: Path) -> None:
    months = [f"2013-{month:02}-01" for month in range(1, 9)]
    with ThreadPoolExecutor(len(months)) as pool:
        list(pool.map(run_month, months))
    table = read_table(lake / "monthly_weather")
    assert table["month"].unique().sort().to_list() == [date.fromisoformat(month) for month in months]
    assert table.height == 2 * len(months)


def test_tables_first_writers_do_not_lose_to_each_other(tmp_path: Path) -> None:
    """Without a function between them, they are close enough together for their commits to conflict."""
    months = [f"2013-{month:02}-01" for month in range(1, 13)]
    start = Barrier(len(months))

    def write(month: str) -> None:
        rows = pl.DataFrame({"month": [date.fromisoformat(month)], "days": [28]})
        start.wait()
        replace_rows(str(tmp_path / "table"), rows, partition="month", value=month)

    with ThreadPoolExecutor(len(months)) as pool:
        list(pool.map(write, months))
    assert read_table(tmp_path / "table")["month"].cast(pl.String).to_list() == months


def source_without(days: pl.Expr) -> pl.DataFrame:
    return pl.read_csv(SOURCE).filter(~days)


def source_with(days: pl.Expr, values: dict[str, float | None]) -> pl.DataFrame:
    changes = [pl.when(days).then(pl.lit(value)).otherwise(name).alias(name) for name, value in values.items()]
    return pl.read_csv(SOURCE).with_columns(changes)


def day(location: str, *dates: str) -> pl.Expr:
    return (pl.col("location") == location) & pl.col("date").is_in(dates)


def test_missing_days_fail_their_check(lake: Path, use_source: UseSource) -> None:
    gone = day("Seattle", "2014-02-03", "2014-02-28")
    use_source(source_without(gone))
    materialization, checks = run_month("2014-02-01")
    assert {name: check.passed for name, check in checks.items()} == {"every_day_once": False, "plausible_values": True}
    assert values(checks["every_day_once"])["missing_days"] == 2
    assert values(checks["every_day_once"])["missing"] == {"Seattle": ["2014-02-03", "2014-02-28"]}
    assert values(materialization)["rows"] == 2


@pytest.mark.parametrize(
    ("gone", "missing_days", "rows"),
    [
        ((pl.col("location") == "New York") & pl.col("date").str.starts_with("2014-02"), 28, 1),
        (pl.col("date").str.starts_with("2014-02"), 56, 0),
    ],
    ids=["of one location", "of all locations"],
)
def test_month_without_any_day_fails_the_check(
    lake: Path, use_source: UseSource, gone: pl.Expr, missing_days: int, rows: int
) -> None:
    use_source(source_without(gone))
    materialization, checks = run_month("2014-02-01")
    assert not checks["every_day_once"].passed
    assert values(checks["every_day_once"])["missing_days"] == missing_days
    assert values(materialization)["rows"] == rows


def test_day_that_comes_twice_fails_the_check(lake: Path, use_source: UseSource) -> None:
    source = pl.read_csv(SOURCE)
    use_source(pl.concat([source, source.filter(day("Seattle", "2014-02-03"))]))
    _, checks = run_month("2014-02-01")
    assert not checks["every_day_once"].passed
    assert values(checks["every_day_once"])["repeated"] == {"Seattle": ["2014-02-03"]}


@pytest.mark.parametrize(
    ("wrong", "broken_rules"),
    [
        ({"temp_min": 30.0, "temp_max": 20.0}, {"temp_min <= temp_max": 1}),
        ({"temp_max": 212.0}, {"-90 <= temp_max <= 60": 1}),
        ({"precipitation": -1.0}, {"0 <= precipitation <= 2000": 1}),
        ({"precipitation": float("nan")}, {"0 <= precipitation <= 2000": 1}),
        ({"wind": None}, {"0 <= wind <= 120": 1}),
    ],
)
def test_implausible_values_fail_their_check(
    wrong: dict[str, float | None], broken_rules: dict[str, int], lake: Path, use_source: UseSource
) -> None:
    use_source(source_with(day("Seattle", "2014-02-03"), wrong))
    materialization, checks = run_month("2014-02-01")
    assert {name: check.passed for name, check in checks.items()} == {"every_day_once": True, "plausible_values": False}
    assert values(checks["plausible_values"])["days_by_broken_rule"] == broken_rules
    assert "| Seattle | 2014-02-03 |" in values(checks["plausible_values"])["examples"]
    assert values(materialization)["rows"] == 2


def test_other_months_of_a_damaged_file_pass(lake: Path, use_source: UseSource) -> None:
    use_source(source_without(day("Seattle", "2014-02-03")))
    _, checks = run_month("2014-03-01")
    assert all(check.passed for check in checks.values())


def test_failed_check_is_logged_as_a_warning(lake: Path, use_source: UseSource, instance: DagsterInstance) -> None:
    use_source(source_without(day("Seattle", "2014-02-03")))
    job = defs.resolve_job_def("monthly_weather_job")
    run_id = job.execute_in_process(partition_key="2014-02-01", instance=instance).run_id
    warnings = [entry.user_message for entry in instance.all_logs(run_id) if entry.level == logging.WARNING]
    assert warnings == ["check every_day_once failed for 2014-02: 1 of 56 days missing, 0 repeated"]


def test_custom_message_tells_the_state_of_the_table(lake: Path) -> None:
    messages: list[Any] = []
    table_uri = str(lake / "orders")
    run_event({"task": "customers", "table_uri": table_uri, "rows": 3}, lake, messages.extend)
    assert messages == [{"table_uri": table_uri, "table_version": 0, "row_count": 3}]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"task": "orders"}, "Expected 'task' in the event to be one of 'customers', 'monthly_weather', got 'orders'"),
        ({"task": ["customers"]}, "to be one of 'customers', 'monthly_weather', got ['customers'] (list)"),
        ({}, "Expected 'task' in the event to be one of 'customers', 'monthly_weather', got nothing"),
        ({"task": "customers"}, "Expected 'table_uri' in the event to be a string that is not empty, got nothing"),
        ({"task": "customers", "table_uri": "x", "rows": "10"}, "an integer of at least 1, got '10' (str)"),
        ({"task": "customers", "table_uri": "x", "rows": True}, "an integer of at least 1, got True (bool)"),
        ({"task": "customers", "table_uri": "x", "rows": 0}, "an integer of at least 1, got 0 (int)"),
        ({"task": "monthly_weather", "table_uri": "x"}, "Expected 'source_uri' in the event to be a string"),
    ],
)
def test_bad_event_fails_the_step(event: dict[str, Any], text: str, lake: Path) -> None:
    assert text in failure(run_event(event, lake))


def test_month_task_without_a_monthly_partition_fails_the_step(lake: Path) -> None:
    event = {"task": "monthly_weather", "source_uri": str(SOURCE), "table_uri": str(lake / "orders")}
    assert "Expected the asset's partition to be one month, got none" in failure(run_event(event, lake))


@pytest.fixture(scope="module")
def on_cloud_run(stack: None) -> Iterator[FunctionServer]:
    """The example's function as Cloud Run starts it."""
    with run_function(
        EXAMPLE, emulator_url=os.environ["STORAGE_EMULATOR_HOST"], env={"K_SERVICE": "example"}
    ) as function:
        yield function


@pytest.mark.parametrize("path", ["/proc/self/environ", "file:///proc/self/environ", "../../proc/self/environ"])
def test_a_local_path_is_neither_read_nor_written_on_cloud_run(
    on_cloud_run: FunctionServer, lake: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", json.dumps({"example": on_cloud_run.url}))
    table = f"gs://{BUCKET}/table"
    weather = {"task": "monthly_weather", "source_uri": path, "table_uri": table}
    error = failure(run_event(weather, lake))
    assert f"Expected 'source_uri' in the event to be a `gs://` URI, got '{path}'" in error
    customers = {"task": "customers", "table_uri": path, "rows": 1}
    assert "Expected 'table_uri' in the event to be a `gs://` URI" in failure(run_event(customers, lake))


def test_the_error_of_a_malformed_source_quotes_nothing_of_it(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "location,date,precipitation,temp_max,temp_min,wind"
    source = tmp_path / "weather.csv"
    source.write_text(f"{header}\nSeattle,2012-01-01,hunter2,1,1,1\n")
    monkeypatch.setenv("WEATHER_SOURCE_URI", str(source))
    result = defs.resolve_job_def("monthly_weather_job").execute_in_process(
        partition_key="2012-01-01", raise_on_error=False
    )
    data = result.failure_data_for_node("monthly_weather")
    assert data
    assert data.error
    error = f"{data.error.to_string()}{data.user_failure_data}"
    assert f"Expected {source} to be a CSV file with the columns location, date, precipitation" in error
    assert "hunter2" not in error
