"""The asset checks of the task `monthly_weather`: pure functions of one month's days."""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from tasks.tables import Metadata, counted, to_markdown

EXAMPLES: Final = 5

_RULES: Final = {
    "location is there": pl.col("location").is_not_null(),
    "temp_min <= temp_max": pl.col("temp_min") <= pl.col("temp_max"),
    "-90 <= temp_min <= 60": pl.col("temp_min").is_between(-90, 60),
    "-90 <= temp_max <= 60": pl.col("temp_max").is_between(-90, 60),
    "0 <= precipitation <= 2000": pl.col("precipitation").is_between(0, 2000),
    "0 <= wind <= 120": pl.col("wind").is_between(0, 120),
}
"""Rules for each day. The bounds are beyond the world's records: -89.2 and 56.7 degrees Celsius, 1825 mm, 113 m/s.

Source: the World Weather and Climate Extremes Archive of the WMO, https://wmo.asu.edu
"""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: The name that the asset declares in its `AssetCheckSpec`.
        passed: Whether the check passed.
        summary: The result in words.
        metadata: The result in detail.
    """

    name: str
    passed: bool
    summary: str
    metadata: Metadata


def month_end(month: date) -> date:
    """Return the last day of a month."""
    return month.replace(day=calendar.monthrange(month.year, month.month)[1])


def check_every_day_once(days: pl.DataFrame, month: date, locations: Sequence[str]) -> CheckResult:
    """Check that each location has each day of the month exactly once."""
    counts = days.group_by("location", "date").agg(count=pl.len())
    expected = pl.DataFrame({"location": locations}, schema={"location": pl.String}).join(
        pl.DataFrame({"date": pl.date_range(month, month_end(month), eager=True)}), how="cross"
    )
    missing = expected.join(counts, on=["location", "date"], how="anti")
    repeated = counts.filter(pl.col("count") > 1)
    return CheckResult(
        "every_day_once",
        passed=missing.is_empty() and repeated.is_empty() and not expected.is_empty(),
        summary=f"{missing.height} of {counted(expected.height, 'day')} missing, {repeated.height} repeated",
        metadata={
            "missing_days": missing.height,
            "repeated_days": repeated.height,
            "missing": {"raw_value": _dates_by_location(missing), "type": "json"},
            "repeated": {"raw_value": _dates_by_location(repeated), "type": "json"},
        },
    )


def check_plausible_values(days: pl.DataFrame) -> CheckResult:
    """Check that the values of each day are possible. A missing value is not."""
    broken = {name: ~rule.fill_null(value=False) for name, rule in _RULES.items()}
    implausible = days.filter(pl.any_horizontal(broken.values())).sort("location", "date")
    counts = {name: implausible.filter(rule).height for name, rule in broken.items()}
    return CheckResult(
        "plausible_values",
        passed=implausible.is_empty(),
        summary=f"{implausible.height} of {counted(days.height, 'day')} with impossible values",
        metadata={
            "implausible_days": implausible.height,
            "days_by_broken_rule": {
                "raw_value": {name: count for name, count in counts.items() if count},
                "type": "json",
            },
            "examples": to_markdown(implausible.head(EXAMPLES)),
        },
    )


def _dates_by_location(days: pl.DataFrame) -> dict[str, list[str]]:
    dates: dict[str, list[str]] = {}
    for location, day in days.sort("location", "date").select("location", "date").iter_rows():
        dates.setdefault(location, []).append(day.isoformat())
    return dates
