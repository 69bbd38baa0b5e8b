"""How many requests reach the bucket."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from statistics import median
from typing import Final

from benchmarks._dagster_side import Event, Measurement, Task, make_run
from benchmarks._sizes import Sizes
from benchmarks._stack import IMPLEMENTATIONS, Functions, run_functions
from benchmarks._table import Row
from dagster_gcf_pipes.local import Emulator
from tests.faults.plan import DELETE
from tests.faults.proxy import FaultProxy
from tests.workers import run_worker

MINUTE: Final = 60.0
IDLE_SECONDS: Final = 85.0
"""How long the idle function runs; the stock reader sees `opened` after some 20 s, and the minute begins then."""
OPENED: Final = "[pipes] external process successfully opened dagster pipes."
SECTION: Final = "requests"
SHORT_BAR: Final = "<= 3 writes, 6 reads"
IDLE_BAR: Final = "<= 6 writes, <= 60 reads"
KINDS: Final = ("writes", "reads", "deletes")
KIND_OF_METHOD: Final = {"GET": "reads", "POST": "writes", "PUT": "writes"}


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Measure both implementations behind one proxy; the bucket tells their requests apart."""
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(emulator.url))
        processes = [stack.enter_context(run_worker({"STORAGE_EMULATOR_HOST": proxy.url})) for _ in IMPLEMENTATIONS]
        functions = stack.enter_context(run_functions(proxy.url))
        several = (sizes.short_runs, sizes.stock_runs)

        def row(metric: str, bar: str, event: Event, counts: tuple[int, int]) -> Row:
            tasks = [functions.task(name, asset=event) for name in IMPLEMENTATIONS]
            return Row(SECTION, metric, bar, *map(_count_runs, [proxy] * 2, processes, tasks, counts))

        yield row("short function, first run of its process", SHORT_BAR, {"behaviour": "report"}, (1, 1))
        yield row("short function, warm", SHORT_BAR, {"behaviour": "report"}, several)
        yield row("function of 1 s, warm", "", {"behaviour": "idle", "seconds": 1}, several)
        if sizes.slow:
            yield _idle_minute(proxy, processes, functions)
        else:
            yield Row(SECTION, "idle minute", IDLE_BAR, "not in quick mode", "not in quick mode")


def _count_runs(proxy: FaultProxy, process: Executor, task: Task, count: int) -> str:
    """Count the requests of some runs: the median and, of several, the maximum."""
    runs = [_count_run(proxy, process, task) for _ in range(count)]
    return ", ".join(_format_counts(kind, [run[kind] for run in runs]) for kind in KINDS)


def _format_counts(kind: str, counts: list[int]) -> str:
    figure = f"{median(counts):g} {kind}"
    return figure if len(counts) == 1 else f"{figure} (most {max(counts)})"


def _count_run(proxy: FaultProxy, process: Executor, task: Task) -> Counter[str]:
    start = time.time()
    _require_success(process.submit(make_run, task).result())
    return _count(proxy, task.bucket, start, time.time())


def _count(proxy: FaultProxy, bucket: str, start: float, end: float) -> Counter[str]:
    """Count the requests for a bucket by their kind, from one time to another."""
    requests = [request for request in list(proxy.requests) if start <= request.time < end]
    deletes = [
        request for request in requests if request.kind == DELETE.kind and f"/{bucket}/".encode() in request.body
    ]
    others = [KIND_OF_METHOD[request.method] for request in requests if f"/{bucket}" in request.path]
    return Counter([*others, *("deletes" for _ in deletes)])


def _idle_minute(proxy: FaultProxy, processes: list[Executor], functions: Functions) -> Row:
    """Measure both at the same time: they are idle. The minute begins when Dagster sees `opened`."""
    event = {"behaviour": "idle", "seconds": IDLE_SECONDS}
    tasks = [functions.task(name, asset=event) for name in IMPLEMENTATIONS]
    runs = [process.submit(make_run, task) for process, task in zip(processes, tasks, strict=True)]
    figures = []
    for task, run in zip(tasks, runs, strict=True):
        opened = _time_of_opened(_require_success(run.result()))
        counts = _count(proxy, task.bucket, opened, opened + MINUTE)
        figures.append(", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
    return Row(SECTION, "idle minute", IDLE_BAR, *figures)


def _require_success(outcome: Measurement) -> Measurement:
    if not outcome.success:
        raise RuntimeError(f"Expected the run to succeed, but it failed: {outcome.error}")
    return outcome


def _time_of_opened(outcome: Measurement) -> float:
    return next(line.arrived for line in outcome.lines if line.text == OPENED)
