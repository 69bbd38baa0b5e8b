"""Dagster's side of the runs."""

from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.dagster_runs import calling_asset
from tests.faults.outcome import Outcome, make_run
from tests.faults.stack import ProxiedClient
from tests.waiting import in_background


@dataclass(frozen=True)
class Task:
    """A run to be made.

    Attributes:
        function_url: The function, through its proxy.
        storage_url: Cloud Storage, through Dagster's proxy.
        bucket: The name of the bucket.
        key: The key of the function's record.
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
        """Whether the user's code fails."""
        return self.raises or self.status not in range(200, 300)

    @property
    def event(self) -> dict[str, Any]:
        """The function's event."""
        return {name: getattr(self, name) for name in ("key", "count", "interval", "raises", "status")}


def make_runs(tasks: list[Task], bound: float) -> list[Outcome]:
    """Make runs at the same time, and wait for each at most `bound` seconds."""
    runs = [in_background(partial(_make_run, task)) for task in tasks]
    wait(runs, bound)
    return [run.result() if run.done() else Outcome(task.key, hung=True) for task, run in zip(tasks, runs, strict=True)]


def _make_run(task: Task) -> Outcome:
    client = ProxiedClient(
        bucket=task.bucket, api_endpoint=task.storage_url, function_timeout=30, max_attempts=8, retry_delay=0.2
    )
    return make_run(task.key, (calling_asset(task.function_url, task.event), {"cloud_function": client}))
