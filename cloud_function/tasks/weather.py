"""The task `monthly_weather`: aggregates a month of daily weather by location into a Delta table."""

import hashlib
import platform
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import polars as pl
from dagster_pipes import PipesContext
from google.cloud import storage

from tasks.event import get_uri
from tasks.tables import TableState, counted, replace_rows, to_markdown
from tasks.weather_checks import check_every_day_once, check_plausible_values, month_end

SOURCE_SCHEMA: Final = {
    "location": pl.String,
    "date": pl.Date,
    "precipitation": pl.Float64,
    "temp_max": pl.Float64,
    "temp_min": pl.Float64,
    "wind": pl.Float64,
}
"""Units: mm, degrees Celsius, m/s."""

DECIMALS: Final = 3
"""More than in the data, and few enough to hide the noise of sums, which would change the data version."""

PREVIEW: Final = ("location", pl.col("temp_mean").round(1).alias("°C"), pl.col("precipitation").round(1).alias("mm"))


class SourceError(ValueError):
    """The source is not daily weather."""


class PartitionError(ValueError):
    """The call is not for one month."""


def run(event: Mapping[str, Any], pipes: PipesContext) -> dict[str, Any]:
    """Replace one month in the table. Report the month's checks and the table's new version.

    Args:
        event: `source_uri`: the CSV file with the daily weather; `table_uri`: the Delta table.
        pipes: The Pipes context of the call; its partition is the month.

    Raises:
        EventError: A field of the event is missing or has the wrong type.
        PartitionError: The call is not for one month.
        SourceError: The source is not a CSV file with the columns of `SOURCE_SCHEMA`.
    """
    source_uri = get_uri(event, "source_uri", example="gs://lake/weather.csv")
    table_uri = get_uri(event, "table_uri", example="gs://lake/monthly_weather")
    month = get_month(pipes)
    # What the function prints is in the run's stdout and stderr, too.
    print(f"polars {pl.__version__} on Python {platform.python_version()}")
    print(f"reading {source_uri} ...", file=sys.stderr)
    source = read_source(source_uri)
    days = source.filter(pl.col("date").is_between(month, month_end(month)))
    pipes.log.info(f"read {counted(source.height, 'row')} from {source_uri}, {days.height} of them in {month:%Y-%m}")
    report_checks(days, month, sorted(source["location"].drop_nulls().unique()), pipes)
    rows = aggregate(days, month)
    print(rows)
    table = replace_rows(table_uri, rows, partition="month", value=month.isoformat())
    pipes.log.info(f"replaced {month:%Y-%m} by {counted(rows.height, 'row')}; the table has {table.row_count} now")
    report_month(rows, table, pipes)
    return {"rows": rows.height, "table_version": table.version}


def get_month(pipes: PipesContext) -> date:
    """Return the first day of the month that the call is for.

    Raises:
        PartitionError: The step has no partition, or its partition is not a month.
    """
    window = pipes.partition_time_window if pipes.is_partition_step else None
    if window:
        start, end = (datetime.fromisoformat(edge).date() for edge in (window["start"], window["end"]))
        if start.day == 1 and end.toordinal() == month_end(start).toordinal() + 1:
            return start
    raise PartitionError(
        f"Expected the asset's partition to be one month, got {window or 'none'}. "
        "Give the asset a `MonthlyPartitionsDefinition`, and each run one partition."
    )


def read_source(uri: str) -> pl.DataFrame:
    """Read the daily weather from `gs://` or from a local path.

    Raises:
        SourceError: It is not a CSV file with the columns of `SOURCE_SCHEMA`.
    """
    data = _download(uri) if uri.startswith("gs://") else Path(uri).read_bytes()
    try:
        return pl.read_csv(BytesIO(data), columns=list(SOURCE_SCHEMA), schema_overrides=SOURCE_SCHEMA)
    except pl.exceptions.PolarsError as error:
        reason = type(error).__name__
    # outside of `except`, because Dagster would show the chained error, and the text of polars quotes the file
    raise SourceError(f"Expected {uri} to be a CSV file with the columns {', '.join(SOURCE_SCHEMA)}, got a {reason}.")


def aggregate(days: pl.DataFrame, month: date) -> pl.DataFrame:
    """Aggregate the days of one month: one row for each location, sorted."""
    return (
        days.sort("location", "date")
        .group_by("location", maintain_order=True)
        .agg(
            days=pl.len().cast(pl.Int64),
            precipitation=pl.col("precipitation").sum().round(DECIMALS),
            temp_mean=((pl.col("temp_min") + pl.col("temp_max")) / 2).mean().round(DECIMALS),
            temp_min=pl.col("temp_min").min(),
            temp_max=pl.col("temp_max").max(),
            wind_mean=pl.col("wind").mean().round(DECIMALS),
        )
        .select(pl.lit(month).alias("month"), pl.all())
    )


def report_checks(days: pl.DataFrame, month: date, locations: list[str], pipes: PipesContext) -> None:
    """Check one month's days. Report all checks, and log those that fail."""
    for check in (check_every_day_once(days, month, locations), check_plausible_values(days)):
        if not check.passed:
            pipes.log.warning(f"check {check.name} failed for {month:%Y-%m}: {check.summary}")
        pipes.report_asset_check(check.name, passed=check.passed, metadata={"summary": check.summary, **check.metadata})


def report_month(rows: pl.DataFrame, table: TableState, pipes: PipesContext) -> None:
    """Report the month's rows and the table's state."""
    pipes.report_custom_message(table.message)
    pipes.report_asset_materialization(
        metadata={
            # Dagster plots numbers over the partitions.
            "mean_temperature_celsius": rows.select(pl.col("temp_mean").mean().round(DECIMALS)).item(),
            "mean_precipitation_mm": rows.select(pl.col("precipitation").mean().round(DECIMALS)).item(),
            "preview": to_markdown(rows.select(PREVIEW)),
            "rows": rows.height,
            **table.metadata,
        },
        # A hash of the rows: if a month does not change, its data version does not either.
        data_version=hashlib.sha256(rows.write_csv().encode()).hexdigest(),
    )


def _download(uri: str) -> bytes:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    client = storage.Client(project=None)  # a project is only needed to create and to list buckets
    with closing(client):
        data: bytes = client.bucket(bucket).blob(name).download_as_bytes()
        return data
