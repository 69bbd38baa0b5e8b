"""A thousand calls from one step, beside the other ways to make many calls.

The function is simulated: two cores cannot run a thousand instances. `tests/many` compares it with a real function.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Final

from benchmarks._fan_out_job import (
    STEPS_AT_ONCE,
    FanOutRun,
    call_in_a_loop,
    call_many,
    call_plainly,
    call_stock,
    call_with_dynamic_steps,
)
from benchmarks._sizes import Sizes
from benchmarks._stack import bucket_of
from benchmarks._table import Row
from benchmarks.sections.burst import mebibytes
from dagster_gcf_pipes.local import Emulator
from tests.many.simulated_platform import SimulatedPlatform, run_simulated_platform
from tests.workers import run_worker

SECTION: Final = "fan-out"
AT_ONCE: Final = 500
ALLOWED: Final = 100
"""Calls that the platform runs at once in the row with refusals."""


def measure(_: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Measure `run_many`, then the alternatives with fewer calls."""
    count = sizes.fan_out_calls
    yield from _measure_many(count)
    yield from _measure_refusals(count)
    if sizes.slow:
        yield from _measure_most(sizes.fan_out_most)
    yield from _measure_alternatives(sizes.fan_out_alternatives)


def _measure_many(count: int) -> Iterator[Row]:
    with run_simulated_platform() as platform, _worker(platform) as process:
        one = process.submit(call_many, platform.function_url, 1, 1.0).result()
        plain = process.submit(call_plainly, platform.function_url, count, 1.0).result()
        platform.reset()
        many = process.submit(call_many, platform.function_url, count, 1.0).result()
        figures = platform.figures()
    calls = f"{count:,} calls of 1 s, all at once"
    yield _row(f"{calls}: succeeded", f"{count:,}", f"{many.succeeded:,}")
    yield _row("the same calls as plain POSTs", "", f"{plain:.1f} s")
    yield _row("run_many", "plain POSTs + 4 s", f"{many.seconds:.1f} s")
    yield _row("growth of peak memory beyond one call", "<= 150 MiB", mebibytes(many.peak_memory - one.peak_memory))
    yield _row("threads at most", f"about {count:,}", f"{many.peak_threads:,}")
    yield _row("LISTs in any second at most", "<= 3", str(figures.most_in_a_second("LIST")))
    yield _row("GETs for each chunk", "1", f"{figures.count('GET') / len(set(figures.names('GET'))):.2f}")


def _measure_refusals(count: int) -> Iterator[Row]:
    with run_simulated_platform(max_running=ALLOWED) as platform, _worker(platform) as process:
        many = process.submit(call_many, platform.function_url, count, 1.0, AT_ONCE).result()
        refused = platform.figures().responses.get(429, 0)
    ideal = count / ALLOWED
    yield _row(f"{count:,} calls of 1 s, {ALLOWED} at once allowed: succeeded", f"{count:,}", f"{many.succeeded:,}")
    yield _row("run_many", f"{ideal:.1f} s + 25 %", f"{many.seconds:.1f} s ({refused:,} refusals)")


def _measure_most(count: int) -> Iterator[Row]:
    with run_simulated_platform() as platform, _worker(platform) as process:
        many = process.submit(call_many, platform.function_url, count, 1.0, AT_ONCE).result()
    yield _row(f"{count:,} calls of 1 s, {AT_ONCE} at once: succeeded", f"{count:,}", f"{many.succeeded:,}")
    yield _row("run_many", f"at least {count / AT_ONCE:.0f} s", f"{many.seconds:.1f} s")
    yield _row("peak memory of the process", "", mebibytes(many.peak_memory))


def _measure_alternatives(count: int) -> Iterator[Row]:
    """Each way makes the same few calls of a second."""
    ways: dict[str, Callable[[str, int, float], FanOutRun]] = {
        "run_many": call_many,
        "a loop over run": call_in_a_loop,
        f"a dynamic step for each, {STEPS_AT_ONCE} processes at once": call_with_dynamic_steps,
    }
    with run_simulated_platform() as platform, _worker(platform) as process:
        stock = process.submit(call_stock, platform.function_url, count, 1.0).result()
        stock_text = f"{stock.seconds:.1f} s (an asset for each, one after another; {stock.succeeded} green)"
        for name, way in ways.items():
            measured = process.submit(way, platform.function_url, count, 1.0).result()
            yield Row(SECTION, f"{count} calls of 1 s: {name}", "", f"{measured.seconds:.1f} s", stock_text)
            stock_text = ""


def _worker(platform: SimulatedPlatform) -> AbstractContextManager[Executor]:
    platform.create_bucket(bucket_of("ours"))
    return run_worker({"STORAGE_EMULATOR_HOST": platform.storage_url})


def _row(metric: str, bar: str, ours: str) -> Row:
    return Row(SECTION, metric, bar, ours, "")
