"""Many log lines: joined while Dagster is behind, one by one, kept out of the event log, and with stock."""

from collections.abc import Iterator
from typing import Final

from benchmarks._sizes import Sizes
from benchmarks._table import Row
from benchmarks.sections.burst import NOT_MEASURED, STOCK_TIME_LIMIT, Burst, mebibytes, run_burst
from dagster_gcf_pipes.local import Emulator

SECTION: Final = "log volume"
NO_SUCH_FIELD: Final = "-"


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Measure the same burst in each way with SQLite, then a long one with an in-memory instance."""
    yield from _measure_ways(emulator.url, sizes.lines_in_sqlite, slow=sizes.slow)
    yield from _measure_long(emulator.url, sizes.lines_in_memory)


def _measure_ways(storage_url: str, count: int, *, slow: bool) -> Iterator[Row]:
    joined = run_burst(storage_url, "ours", "sqlite", count)
    one_by_one = run_burst(storage_url, "ours", "sqlite", count, log_lines_per_entry=1)
    left_out = run_burst(storage_url, "ours", "sqlite", count, event_log_level="warning") if slow else None
    stock = run_burst(storage_url, "stock", "sqlite", count) if slow else None

    def row(metric: str, bar: str, ours: str, stock: str = NO_SUCH_FIELD) -> Row:
        return Row(SECTION, metric, bar, ours, stock)

    lines = f"{count:,} lines, SQLite"
    yield row(f"{lines}: arrived", "all, in order", joined.kept, stock.kept if stock else NOT_MEASURED)
    yield row("the whole run", "", joined.pace, stock.pace if stock else NOT_MEASURED)
    yield row("entries in the event log", "", _entries(joined), _entries(stock) if stock else NOT_MEASURED)
    yield row("the same with log_lines_per_entry=1: arrived", "all, in order", one_by_one.kept)
    yield row("the whole run", "", one_by_one.pace)
    yield row("entries in the event log", "", _entries(one_by_one))
    yield row(
        "joined, times as fast as one by one", "20 for 20,000", f"{one_by_one.run.seconds / joined.run.seconds:.0f}"
    )
    to_stdout = f"{left_out.run.seconds:,.1f} s, {_entries(left_out)} entries" if left_out else NOT_MEASURED
    yield row("the same with event_log_level='warning': the whole run", "", to_stdout)


def _measure_long(storage_url: str, count: int) -> Iterator[Row]:
    """Measure ours alone: stock would take minutes, and then fail at its time limit."""
    long = run_burst(storage_url, "ours", "memory", count)
    text = sum(len(line) + 1 for line in long.run.texts())

    def row(metric: str, bar: str, ours: str) -> Row:
        return Row(SECTION, metric, bar, ours, f"not measured: its limit is {STOCK_TIME_LIMIT:g} s")

    yield row(f"{count:,} lines, in memory: arrived", "all, in order", long.kept)
    yield row("the whole run", "", long.pace)
    yield row("entries in the event log", "", _entries(long))
    memory = f"Dagster: growth of peak memory, with an event log of {mebibytes(text)} of text"
    yield row(memory, "bounded", mebibytes(long.dagster_memory))
    yield row("function: growth of peak memory", "bounded", mebibytes(long.function_memory))


def _entries(burst: Burst) -> str:
    return f"{burst.run.entry_count:,}"
