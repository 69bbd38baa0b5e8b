"""Dagster's side of the runs, in a process of its own whose memory is measured."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dagster import DagsterInstance, ExecuteInProcessResult, materialize

from tests.dagster_runs import calling_asset, logged
from tests.faults.pairs import ProxiedClient
from tests.waiting import in_background


@dataclass(frozen=True)
class Task:
    """A run to be made.

    Attributes:
        function_url: The function, through its proxy.
        storage_url: Cloud Storage, through Dagster's proxy.
        bucket: The name of the bucket.
        key: The key under which the function remembers the run.
        count: How many lines the function logs.
        interval: Seconds between two of them.
        raises: Whether the function then raises.
        status: The HTTP status that it returns otherwise.
    """

    function_url: str
    storage_url: str
    bucket: str
    key: str
    count: int
    interval: float = 0.0
    raises: bool = False
    status: int = 200

    @property
    def fails(self) -> bool:
        """Whether the run must fail."""
        return self.raises or self.status not in range(200, 300)

    @property
    def event(self) -> dict[str, Any]:
        """What the function is told."""
        names = ("key", "count", "interval", "raises", "status")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Result:
    """What Dagster shows of a run.

    Attributes:
        green: Whether it succeeded.
        shown: The function's lines, and its materialization, in order.
        error: Why it failed.
        hung: Whether it had not ended within its bound; then the rest is not known.
    """

    green: bool = False
    shown: list[str] = field(default_factory=list)
    error: str = ""
    hung: bool = False


@contextmanager
def running_dagster() -> Iterator[Executor]:
    """Run Dagster's process, which takes one call at a time, while the block runs."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_be_quiet) as process:
        yield process


def make_runs(tasks: list[Task], bound: float) -> list[Result]:
    """Make runs at the same time, and wait for each at most `bound` seconds."""
    runs = [in_background(partial(_make_run, task)) for task in tasks]
    wait(runs, bound)
    return [run.result() if run.done() else Result(hung=True) for run in runs]


def _make_run(task: Task) -> Result:
    client = ProxiedClient(
        bucket=task.bucket, api_endpoint=task.storage_url, function_timeout=30, max_attempts=8, retry_delay=0.2
    )
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [calling_asset(task.function_url, task.event)],
            resources={"cloud_function": client},
            instance=instance,
            raise_on_error=False,
        )
        lines = [line for line in logged(instance, result.run_id) if line.startswith("line ")]
        return Result(result.success, lines + _materializations(instance, result.run_id), _error(result))


def _materializations(instance: DagsterInstance, run_id: str) -> list[str]:
    """Return those of a step that failed as well."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    metadata = [event.materialization.metadata for event in events if event.is_step_materialization]
    return [f"materialization after {entry['lines'].value} lines" for entry in metadata if "lines" in entry]


def _error(result: ExecuteInProcessResult) -> str:
    errors = [event.step_failure_data.error for event in result.get_step_failure_events()]
    return "; ".join((error.cause or error).message.strip() for error in errors if error)


def _be_quiet() -> None:
    warnings.simplefilter("ignore")
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - Dagster writes its log there as long as the process lives
