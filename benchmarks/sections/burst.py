"""A function that logs as fast as it can: what arrives in which order, and what it takes in time and memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks._dagster_side import Implementation, Measurement, Storage, Task, log_alone, make_run
from benchmarks._sizes import Sizes
from benchmarks._stack import run_functions
from benchmarks._table import Row
from dagster_gcf_pipes.local import Emulator
from tests.memory import MIB, memory_of_workers
from tests.workers import run_worker

STOCK_TIME_LIMIT: Final = 120.0
"""Seconds that the stock reader's thread has after the function has answered; then the run fails.

Source: `THREAD_WAIT_TIMEOUT` in `dagster._core.pipes.utils`.
"""
NOT_MEASURED: Final = "not in quick mode"
_STORAGE_NAMES: Final[dict[Storage, str]] = {"memory": "in memory", "sqlite": "SQLite"}


@dataclass(frozen=True)
class Burst:
    """A burst; the memory is the growth of the peak above that of a short run before, in bytes."""

    implementation: Implementation
    run: Measurement
    function_memory: int
    dagster_memory: int

    @property
    def kept(self) -> str:
        """What arrived, and whether the run says so."""
        numbers = [int(text.split()[1]) for text in self.run.texts() if text.startswith("burst ")]
        order = "in order" if numbers == sorted(set(numbers)) else "NOT in order"
        return f"{len(numbers):,}, {order}, run {'green' if self.run.success else 'failed'}"

    @property
    def pace(self) -> str:
        """How long the run took."""
        arrived = len(self.run.texts())
        return f"{self.run.seconds:,.1f} s ({arrived / self.run.seconds:,.0f}/s)"

    @property
    def ceiling(self) -> str:
        """How many lines would arrive until stock gives up."""
        if self.implementation == "ours":
            return "-"
        most = len(self.run.texts()) / self.run.seconds * STOCK_TIME_LIMIT
        return f"{most:,.0f}"

    @property
    def handling(self) -> str:
        """How long Dagster's own handler took."""
        share = self.run.handling_seconds / self.run.seconds
        return f"{self.run.handling_seconds:,.1f} s ({share:.0%})"


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Measure bursts with an in-memory instance and with SQLite."""
    yield from _measure(emulator.url, "memory", sizes.burst_in_memory, sizes.alone_in_memory, slow=sizes.slow)
    yield from _measure(emulator.url, "sqlite", sizes.burst_in_sqlite, sizes.alone_in_sqlite, slow=sizes.slow)


def _measure(storage_url: str, storage: Storage, count: int, alone_count: int, *, slow: bool) -> Iterator[Row]:
    ours = run_burst(storage_url, "ours", storage, count)
    stock = run_burst(storage_url, "stock", storage, count) if slow else None
    alone_seconds, alone_memory = (
        figure * count / alone_count for figure in _log_alone(storage_url, storage, alone_count)
    )

    def row(metric: str, bar: str, figure: Callable[[Burst], str]) -> Row:
        section = f"burst, {_STORAGE_NAMES[storage]}"
        return Row(section, metric, bar, figure(ours), figure(stock) if stock else NOT_MEASURED)

    yield row(f"messages that arrived, of {count:,}", "all, in order", lambda burst: burst.kept)
    yield row("the whole run", "", lambda burst: burst.pace)
    yield row("of it in Dagster's own handle_message", "", lambda burst: burst.handling)
    yield row(f"Dagster alone: context.log.info (from {alone_count:,})", "", lambda _: f"{alone_seconds:,.1f} s")
    yield row(f"at this pace in {STOCK_TIME_LIMIT:g} s, when stock gives up", "", lambda burst: burst.ceiling)
    yield row("function: growth of peak memory", "bounded", lambda burst: mebibytes(burst.function_memory))
    yield row("Dagster: growth of peak memory", "bounded", lambda burst: mebibytes(burst.dagster_memory))
    yield row(f"Dagster alone: the same (from {alone_count:,})", "", lambda _: mebibytes(alone_memory))


def run_burst(storage_url: str, implementation: Implementation, storage: Storage, count: int, **fields: Any) -> Burst:
    """Run it in fresh processes, after a short run that loads what any run needs.

    Args:
        storage_url: The URL of the emulator.
        implementation: Which implementation.
        storage: Where Dagster keeps the event log.
        count: How many lines the function logs.
        fields: Fields of the task, such as `log_lines_per_entry`.
    """
    with ExitStack() as stack:
        process = stack.enter_context(run_worker({"STORAGE_EMULATOR_HOST": storage_url}))
        functions = stack.enter_context(run_functions(storage_url))
        interval = None if implementation == "ours" else 1.0  # for the short run only

        def task(count: int, interval: float | None = None) -> Task:
            event = {"behaviour": "log", "tag": "burst", "count": count, "interval": 0}
            return replace(functions.task(implementation, interval, storage, asset=event), **fields)

        server = functions.ours if implementation == "ours" else functions.stock
        short = process.submit(make_run, task(10, interval)).result()
        function_memory = memory_of_workers("VmHWM", server.child.process.pid)
        burst = process.submit(make_run, task(count)).result()
        return Burst(
            implementation,
            burst,
            memory_of_workers("VmHWM", server.child.process.pid) - function_memory,
            burst.peak_memory - short.peak_memory,
        )


def _log_alone(storage_url: str, storage: Storage, count: int) -> tuple[float, float]:
    """Seconds, and growth of the peak memory, of logging as many lines without Pipes."""
    with run_worker({"STORAGE_EMULATOR_HOST": storage_url}) as process:
        short = process.submit(log_alone, 10, storage).result()
        alone = process.submit(log_alone, count, storage).result()
        return alone.seconds, alone.peak_memory - short.peak_memory


def mebibytes(size: float) -> str:
    """A size for the table."""
    return f"{size / MIB:,.0f} MiB"
