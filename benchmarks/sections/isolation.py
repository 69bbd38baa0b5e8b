"""Messages stay in their run: two assets that share a resource, and several runs at once in one function."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from typing import Final

from benchmarks._dagster_side import Event, Implementation, Measurement, make_run, make_runs_at_once
from benchmarks._sizes import Sizes
from benchmarks._stack import IMPLEMENTATIONS, Functions, run_functions
from benchmarks._table import Row
from dagster_gcf_pipes.local import Emulator
from tests.workers import run_worker

LINES: Final = 20
INTERVAL: Final = 0.1
RUNS_AT_ONCE: Final = 4
TAGS: Final = tuple(f"run-{number}" for number in range(RUNS_AT_ONCE))
SECTION: Final = "isolation"


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:  # noqa: ARG001 - it takes a few seconds in any size
    """Measure both implementations, at the same time: their functions and their Dagster processes are their own."""
    with ExitStack() as stack:
        processes = [stack.enter_context(run_worker({"STORAGE_EMULATOR_HOST": emulator.url})) for _ in IMPLEMENTATIONS]
        functions = stack.enter_context(run_functions(emulator.url, threads=RUNS_AT_ONCE))
        tasks = [functions.task(name, first=_event("first"), second=_event("second")) for name in IMPLEMENTATIONS]
        shared = [process.submit(make_run, task) for process, task in zip(processes, tasks, strict=True)]
        metric = f"two assets, one resource: lines of each, of {LINES}"
        yield Row(SECTION, metric, "all", *(_lines_of_each(run.result()) for run in shared))
        at_once = [
            _submit_runs(process, functions, name) for process, name in zip(processes, IMPLEMENTATIONS, strict=True)
        ]
        metric = f"{RUNS_AT_ONCE} runs at once, 1 function process: good ones"
        yield Row(SECTION, f"{metric} *", str(RUNS_AT_ONCE), *(_good_runs(runs.result()) for runs in at_once))
        documented = _submit_runs(processes[1], functions, "stock", open_dagster_pipes=True)
        yield Row(SECTION, f"{metric} **", "", "", _good_runs(documented.result()))


def _event(tag: str, **more: object) -> Event:
    return {"behaviour": "log", "tag": tag, "count": LINES, "interval": INTERVAL, **more}


def _lines_of_each(outcome: Measurement) -> str:
    first, second = (len(outcome.texts(name)) for name in ("first", "second"))
    return f"{first} and {second}, run {_colour(outcome)}"


def _colour(outcome: Measurement) -> str:
    return "green" if outcome.success else "failed"


def _submit_runs(
    process: Executor, functions: Functions, name: Implementation, **more: object
) -> "Future[list[Measurement]]":
    tasks = [functions.task(name, asset=_event(tag, **more)) for tag in TAGS]
    return process.submit(make_runs_at_once, tasks)


def _good_runs(outcomes: list[Measurement]) -> str:
    """Count the runs that succeed with exactly their own lines, the green ones, and the lines of each."""
    good = [outcome.success and _has_exactly_its_own(outcome, tag) for outcome, tag in zip(outcomes, TAGS, strict=True)]
    lines = ", ".join(str(len(outcome.texts())) for outcome in outcomes)
    return f"{sum(good)}; {sum(outcome.success for outcome in outcomes)} green; lines {lines}"


def _has_exactly_its_own(outcome: Measurement, tag: str) -> bool:
    return [text.split()[:2] for text in outcome.texts()] == [[tag, str(number)] for number in range(LINES)]
