"""Materializes the example's assets once, and prints each event as it arrives: a part of `just demo`."""

import logging
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from statistics import median

from dagster import (
    AssetKey,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    InitLoggerContext,
    logger,
)
from tabulate import tabulate

from examples.definitions import defs

RUNS = (("customers", None), ("monthly_weather", "2012-01-01"), ("monthly_weather", "2015-07-01"))
_CREATED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z")
"""The time at the start of each line of the example's function."""


class EventPrinter(logging.Handler):
    """Prints each event as it reaches Dagster, and measures the delay of the function's lines."""

    def __init__(self, title: str) -> None:
        super().__init__(logging.INFO)
        self.delays: list[float] = []
        self._title = title
        self._started = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        message = str(getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage()))
        if created := _CREATED.match(message):
            self.delays.append(time.time() - datetime.fromisoformat(f"{created[1]}+00:00").timestamp())
        print(f"  {time.monotonic() - self._started:5.2f} s  {record.levelname:<7}  {message}", flush=True)


def main() -> int:
    """Run all and return the exit code: 0 if every asset was materialized."""
    rows = [_materialize(asset, partition) for asset, partition in RUNS]
    print(f"\n{tabulate(rows, headers='keys')}\n")
    succeeded = all(row["outcome"] == "success" for row in rows)
    print("All assets were materialized." if succeeded else "Not all assets were materialized: see above.")
    return 0 if succeeded else 1


def _materialize(asset: str, partition: str | None) -> dict[str, str]:
    """Materialize an asset and return its row of the summary."""
    print(f"\n{asset} {partition or ''}")
    printer = EventPrinter(asset)
    with DagsterInstance.ephemeral() as instance:
        result = (
            _definitions(printer)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[AssetKey(asset)],
                partition_key=partition,
                run_config={"loggers": {"printer": {}}},
                raise_on_error=False,
            )
        )
    return _summarize(asset, partition, result, printer.delays)


def _definitions(printer: EventPrinter) -> Definitions:
    @logger
    def printing(_: InitLoggerContext) -> logging.Logger:
        lines = logging.Logger("demo", logging.INFO)
        lines.addHandler(printer)
        return lines

    return Definitions.merge(defs, Definitions(loggers={"printer": printing}))


def _summarize(
    asset: str, partition: str | None, result: ExecuteInProcessResult, delays: Sequence[float]
) -> dict[str, str]:
    metadata: dict[str, object] = {}
    for materialization in result.asset_materializations_for_node(asset):
        metadata = {key: value.value for key, value in materialization.metadata.items()}
    checks = result.get_asset_check_evaluations()
    return {
        "asset": asset,
        "partition": partition or "-",
        "outcome": "success" if result.success else "failure",
        "rows": str(metadata.get("rows", "-")),
        "version": str(metadata.get("table_version", "-")),
        "location": str(metadata.get("location", "-")),
        "checks": f"{sum(check.passed for check in checks)} of {len(checks)} passed" if checks else "-",
        "seconds": str(metadata.get("cloud_function/duration_seconds", "-")),
        "created to arrived": f"{median(delays):.3f} s median, {max(delays):.3f} s max" if delays else "-",
    }


if __name__ == "__main__":
    sys.exit(main())
