"""What a run adds to the plain call, without the cost of an empty materialization in Dagster."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Final

from benchmarks._dagster_side import OverheadSample, Task, sample_overhead
from benchmarks._distance import at_distance
from benchmarks._sizes import Sizes
from benchmarks._stack import IMPLEMENTATIONS, run_functions
from benchmarks._statistics import percentile
from benchmarks._table import Row
from dagster_gcf_pipes.local import Emulator
from tests.workers import run_worker

EVENT: Final = {"behaviour": "report"}
SECTION: Final = "overhead"
RUN_BARS: Final = {0.0: "<= 150 ms"}
CALL_BARS: Final = {0.06: "<= 220 ms"}
"""By the latency of the storage. With 60 ms, the claim, the last chunk and one read take 180 ms."""


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Measure on this machine's own storage, and on storage that is as far away as it really is."""
    for latency in (0.0, sizes.storage_latency):
        with at_distance(emulator.url, latency) as storage_url:
            yield from _measure_at(storage_url, latency, sizes)


def _measure_at(storage_url: str, latency: float, sizes: Sizes) -> Iterator[Row]:
    """Measure the three kinds alternately, round by round, so that a drift of the machine affects all of them."""
    with ExitStack() as stack:
        ours, stock = (stack.enter_context(run_worker({"STORAGE_EMULATOR_HOST": storage_url})) for _ in IMPLEMENTATIONS)
        functions = stack.enter_context(run_functions(storage_url))
        plain_url = functions.plain.url
        our_task = functions.task("ours", asset=EVENT)
        stock_task = functions.task("stock", asset=EVENT)
        one_second_task = replace(stock_task, interval=1.0)
        _sample(ours, our_task, plain_url)  # the first of each process is not measured
        _sample(stock, one_second_task, plain_url)
        our_samples = [_sample(ours, our_task, plain_url) for _ in range(sizes.overhead_runs)]
        default_samples, one_second_samples = [], []
        for _ in range(sizes.stock_runs):
            default_samples.append(_sample(stock, stock_task, plain_url))
            one_second_samples.append(_sample(stock, one_second_task, plain_url))
        at = f"storage at {latency * 1000:g} ms"
        both = our_samples, default_samples
        yield _row(f"{at}: a run adds to the plain call, median", RUN_BARS.get(latency, ""), *both, _run)
        yield _row(f"{at}: the same, stock with intervals of 1 s", "", [], one_second_samples, _run)
        call = f"{at}: the call itself adds, without the set-up of the run and its resources"
        yield _row(call, CALL_BARS.get(latency, ""), *both, _call)
        yield _part(f"{at}: subtracted, an empty materialization", our_samples, default_samples, lambda s: s.empty_run)
        yield _part(f"{at}: subtracted, the plain call", our_samples, default_samples, lambda s: s.plain_call)


def _sample(process: Executor, task: Task, plain_url: str) -> OverheadSample:
    return process.submit(sample_overhead, task, plain_url).result()


def _run(sample: OverheadSample) -> float:
    return sample.overhead


def _call(sample: OverheadSample) -> float:
    return sample.overhead_of_call


def _row(
    metric: str,
    bar: str,
    ours: list[OverheadSample],
    stock: list[OverheadSample],
    part: Callable[[OverheadSample], float],
) -> Row:
    return Row(SECTION, metric, bar, _figures(ours, part), _figures(stock, part))


def _figures(samples: list[OverheadSample], part: Callable[[OverheadSample], float]) -> str:
    if not samples:
        return ""
    values = [part(sample) * 1000 for sample in samples]
    return f"{median(values):,.0f} ms (95th percentile {percentile(values, 95):,.0f}; n = {len(samples)})"


def _part(
    metric: str,
    ours: list[OverheadSample],
    stock: list[OverheadSample],
    part: Callable[[OverheadSample], float],
) -> Row:
    our_median, stock_median = (median(map(part, samples)) * 1000 for samples in (ours, stock))
    return Row(SECTION, metric, "", f"{our_median:,.1f} ms", f"{stock_median:,.1f} ms")
