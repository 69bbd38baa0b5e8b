"""The delay from the creation of a log line in the function to its arrival in Dagster's event log."""

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Final

from benchmarks._dagster_side import Measurement, make_run
from benchmarks._sizes import Sizes
from benchmarks._stack import IMPLEMENTATIONS, run_functions
from benchmarks._statistics import percentile
from benchmarks._table import Row
from dagster_gcf_pipes.local import Emulator
from tests.workers import run_worker

INTERVAL: Final = 0.5
SECTION: Final = "latency"


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Measure both implementations at the same time: their functions mostly sleep, and the machine is the same."""
    count = round(sizes.latency_seconds / INTERVAL)
    event = {"behaviour": "log", "tag": "latency", "count": count, "interval": INTERVAL}
    with ExitStack() as stack:
        processes = [stack.enter_context(run_worker({"STORAGE_EMULATOR_HOST": emulator.url})) for _ in IMPLEMENTATIONS]
        functions = stack.enter_context(run_functions(emulator.url))
        runs = [
            process.submit(make_run, functions.task(name, asset=event))
            for name, process in zip(IMPLEMENTATIONS, processes, strict=True)
        ]
        ours, stock = (_latencies(run.result()) for run in runs)
    yield Row(
        SECTION,
        f"a line each 0.5 s for {count * INTERVAL:g} s: lines arrived",
        str(count),
        str(len(ours)),
        str(len(stock)),
    )
    yield Row(SECTION, "from creation to arrival, median", "<= 0.5 s", _seconds(median(ours)), _seconds(median(stock)))
    yield Row(
        SECTION, "the same, 95th percentile", "<= 1 s", _seconds(percentile(ours, 95)), _seconds(percentile(stock, 95))
    )


def _latencies(outcome: Measurement) -> list[float]:
    if not outcome.texts():
        raise RuntimeError(f"Expected lines in the event log, but there are none. The run's error: {outcome.error!r}")
    return [line.arrived - float(line.text.split()[-1]) for line in outcome.lines if line.text.startswith("latency ")]


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
