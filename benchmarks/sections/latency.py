"""The delay from the creation of a log line in the function to its arrival in Dagster's event log."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
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
    """Measure all at the same time: their functions mostly sleep, and the machine is the same."""
    count = round(sizes.latency_seconds / INTERVAL)
    event = {"behaviour": "log", "tag": "latency", "count": count, "interval": INTERVAL}
    with ExitStack() as stack:
        functions = stack.enter_context(run_functions(emulator.url))
        tasks = [functions.task(name, asset=event) for name in IMPLEMENTATIONS]
        tasks.append(replace(tasks[0], messages="response"))
        processes = [stack.enter_context(run_worker({"STORAGE_EMULATOR_HOST": emulator.url})) for _ in tasks]
        runs = [process.submit(make_run, task) for process, task in zip(processes, tasks, strict=True)]
        ours, stock, in_response = (_latencies(run.result()) for run in runs)
    lines = f"a line each 0.5 s for {count * INTERVAL:g} s: lines arrived"
    yield Row(SECTION, lines, str(count), str(len(ours)), str(len(stock)))
    yield Row(SECTION, "from creation to arrival, median", "<= 0.5 s", _seconds(median(ours)), _seconds(median(stock)))
    late, late_stock = _seconds(percentile(ours, 95)), _seconds(percentile(stock, 95))
    yield Row(SECTION, "the same, 95th percentile", "<= 1 s", late, late_stock)
    milliseconds = f"{median(in_response) * 1000:.0f} ms (95th percentile {percentile(in_response, 95) * 1000:.0f})"
    yield Row(SECTION, "with the messages in the response, median", "<= 20 ms", milliseconds, "")


def _latencies(outcome: Measurement) -> list[float]:
    if not outcome.texts():
        raise RuntimeError(f"Expected lines in the event log, but there are none. The run's error: {outcome.error!r}")
    return [line.arrived - float(line.text.split()[-1]) for line in outcome.lines if line.text.startswith("latency ")]


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
