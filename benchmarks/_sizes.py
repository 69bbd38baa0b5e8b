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
        short_runs: Short runs whose requests are counted.
        slow: Whether to measure the idle minute, and stock's bursts.
        fault_plan_step: Every so many-th fault plan is run.
    """

    overhead_runs: int
    stock_runs: int
    latency_seconds: float
    burst_in_memory: int
    burst_in_sqlite: int
    alone_in_memory: int
    alone_in_sqlite: int
    short_runs: int
    slow: bool
    fault_plan_step: int


FULL: Final = Sizes(
    overhead_runs=31,
    stock_runs=3,
    latency_seconds=30.0,
    burst_in_memory=200_000,
    burst_in_sqlite=20_000,
    alone_in_memory=40_000,
    alone_in_sqlite=4_000,
    short_runs=11,
    slow=True,
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
    short_runs=5,
    slow=False,
    fault_plan_step=20,
)
