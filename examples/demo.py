"""Materializes the example's assets once, and prints each message as it arrives: a part of `just demo`."""

import logging
import os
import sys
import time

from dagster import (
    AssetKey,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    InitLoggerContext,
    logger,
)
from tabulate import tabulate

from examples.definitions import defs

RUNS = (
    ("customers", None, "appends generated customers to a Delta table"),
    ("monthly_weather", "2012-01-01", "computes the weather of a month, and checks it"),
    ("monthly_weather", "2015-07-01", "computes another month"),
)


class EventPrinter(logging.Handler):
    """Prints what a person wants to know of a run when it reaches Dagster, and counts the function's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0
        self.live_lines = 0
        self._started = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        meta = getattr(record, "dagster_meta", {})
        text = self._describe(meta.get("dagster_event"), str(meta.get("orig_message", record.getMessage())), record)
        if text:
            print(f"  {time.monotonic() - self._started:5.2f} s  {text}", flush=True)

    def _describe(self, event: DagsterEvent | None, message: str, record: logging.LogRecord) -> str:
        """Return a line about a message of the function or an event of Dagster, or an empty text."""
        if message.startswith("[pipes] calling http"):
            return "Dagster calls the function"
        if event:
            return _describe_event(event)
        if record.levelno < logging.INFO:
            return ""
        if not message.startswith("[pipes]"):
            self.lines += 1
            return f"the function says: {message}"
        if message.startswith("[pipes] the call got"):
            self.live_lines = self.lines
            return "the function has responded"
        return message if record.levelno >= logging.WARNING else ""


def main() -> int:
    """Run all, and return the exit code: 0 if every asset was materialized."""
    rows = [_materialize(*run) for run in RUNS]
    print(f"\n{tabulate(rows, headers='keys')}\n")
    if not all(row["outcome"] == "success" for row in rows):
        print("Not all assets were materialized: see above.")
        return 1
    just, lake = (os.path.relpath(os.environ[name]) for name in ("JUST", "LAKE_URI"))
    print("All assets were materialized.")
    print(f"The tables are in {lake}. Show some rows:  {just} rows customers")
    print(f"Next, see the same in Dagster's UI:  {just} dev")
    return 0


def _materialize(asset: str, partition: str | None, description: str) -> dict[str, str]:
    """Materialize an asset, and return its row of the summary."""
    print(f"\n{' '.join(filter(None, (asset, partition)))} {description}", flush=True)
    printer = EventPrinter()
    with DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}}) as instance:
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
    return _summarize(asset, partition, result, f"{printer.live_lines} of {printer.lines}")


def _describe_event(event: DagsterEvent) -> str:
    if event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
        return f"materialized {event.step_key}"
    if event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
        evaluation = event.asset_check_evaluation_data
        return f"checked {evaluation.check_name}: {'passed' if evaluation.passed else 'failed'}"
    if event.event_type is DagsterEventType.STEP_FAILURE:
        return f"failed: {event.step_failure_data.error_display_string}"
    return ""


def _definitions(printer: EventPrinter) -> Definitions:
    @logger
    def printing(_: InitLoggerContext) -> logging.Logger:
        lines = logging.Logger("demo")
        lines.addHandler(printer)
        return lines

    return Definitions.merge(defs, Definitions(loggers={"printer": printing}))


def _summarize(asset: str, partition: str | None, result: ExecuteInProcessResult, live_lines: str) -> dict[str, str]:
    metadata: dict[str, object] = {}
    for materialization in result.asset_materializations_for_node(asset):
        metadata = {key: value.value for key, value in materialization.metadata.items()}
    checks = result.get_asset_check_evaluations()
    return {
        "asset": asset,
        "partition": partition or "-",
        "outcome": "success" if result.success else "failure",
        "rows": str(metadata.get("rows", "-")),
        "table version": str(metadata.get("table_version", "-")),
        "checks": f"{sum(check.passed for check in checks)} of {len(checks)} passed" if checks else "-",
        "seconds": str(metadata.get("cloud_function/duration_seconds", "-")),
        "live log lines": live_lines,
    }


if __name__ == "__main__":
    sys.exit(main())
