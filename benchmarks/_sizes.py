"""How much is measured."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        overhead_runs: Runs of ours whose overhead is measured.
        stock_runs: Runs of stock for the overhead, with each of its settings, and for the requests; each takes seconds.
        latency_seconds: How long a function logs a line every half second.
        burst_in_memory: Messages of a burst with an in-memory instance.
        burst_in_sqlite: Messages of a burst with SQLite.
        alone_in_memory: Lines that Dagster logs by itself, for comparison, with an in-memory instance.
        alone_in_sqlite: The same, with SQLite.
        lines_in_sqlite: Log lines with SQLite, joined and one by one.
        lines_in_memory: Log lines with an in-memory instance, joined.
        short_runs: Short runs whose requests are counted.
        slow: Whether to measure the idle minute, and stock's bursts.
        fan_out_calls: Calls of one step.
        fan_out_most: The same, with 500 at once.
        fan_out_alternatives: Calls that are made in each other way too.
        fault_plan_step: Every so many-th fault plan is run.
        storage_latency: Seconds that a request to the bucket takes longer, for the second half of the overhead.
    """

    overhead_runs: int
    stock_runs: int
    latency_seconds: float
    burst_in_memory: int
    burst_in_sqlite: int
    alone_in_memory: int
    alone_in_sqlite: int
    lines_in_sqlite: int
    lines_in_memory: int
    short_runs: int
    slow: bool
    fan_out_calls: int
    fan_out_most: int
    fan_out_alternatives: int
    fault_plan_step: int
    storage_latency: float = 0.06


FULL: Final = Sizes(
    overhead_runs=31,
    stock_runs=3,
    latency_seconds=30.0,
    burst_in_memory=200_000,
    burst_in_sqlite=20_000,
    alone_in_memory=40_000,
    alone_in_sqlite=4_000,
    lines_in_sqlite=20_000,
    lines_in_memory=1_000_000,
    short_runs=11,
    slow=True,
    fan_out_calls=1_000,
    fan_out_most=10_000,
    fan_out_alternatives=20,
    fault_plan_step=1,
)
QUICK: Final = Sizes(
    overhead_runs=11,
    stock_runs=1,
    latency_seconds=8.0,
    burst_in_memory=5_000,
    burst_in_sqlite=1_000,
    alone_in_memory=5_000,
    alone_in_sqlite=1_000,
    lines_in_sqlite=1_000,
    lines_in_memory=20_000,
    short_runs=5,
    slow=False,
    fan_out_calls=200,
    fan_out_most=0,
    fan_out_alternatives=4,
    fault_plan_step=20,
)
