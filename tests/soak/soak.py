"""Makes rounds of runs, a few at a time, for so long."""

import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from random import Random
from typing import Any, Final

from dagster_gcf_pipes.local import available_emulators, run_emulator
from tests.conftest import FUNCTIONS
from tests.faults.outcome import Outcome, deliver_again, read_record
from tests.faults.stack import ProxiedStack, run_proxied_stack
from tests.functions.record import new_record
from tests.memory import memory, memory_of_workers
from tests.soak.faults import sporadic_faults
from tests.soak.runs import Task, make_runs
from tests.soak.summary import Summary
from tests.workers import run_worker

AT_ONCE: Final = 4
RUN_BOUND: Final = 90.0
"""Seconds in which a run must end: its function has 30 s."""
BEHAVIOURS: Final[tuple[dict[str, Any], ...]] = (
    {"count": 10, "interval": 0.05},
    {"count": 5, "interval": 0.2},
    {"count": 300},
    {"count": 0},
    {"count": 10, "interval": 0.05, "raises": True},
    {"count": 300, "raises": True},
    {"count": 10, "status": 503},
    {"count": 10, "status": 429},
)
"""The behaviours of the function: some lines, few and slow ones, a burst, none; an exception after lines, a status."""


def soak(seconds: float, seed: int, on_round: Callable[[Summary], None] = lambda _: None) -> Summary:
    """Make runs for so many seconds, and at least one round of them."""
    summary, random = Summary(seed), Random(seed)
    deadline = time.monotonic() + seconds
    with (
        run_emulator(available_emulators()[0]) as emulator,
        run_proxied_stack(emulator, FUNCTIONS / "soak" / "main.py", sporadic_faults(seed)) as stack,
        run_worker() as dagster,
    ):
        while not summary.memory or time.monotonic() < deadline:
            _make_round(random, stack, dagster, summary)
            on_round(summary)
    return summary


def _make_round(random: Random, stack: ProxiedStack, dagster: Executor, summary: Summary) -> None:
    tasks = [_new_task(random, stack) for _ in range(AT_ONCE)]
    for task, outcome in zip(tasks, dagster.submit(make_runs, tasks, RUN_BOUND).result(), strict=True):
        summary.add(task, _with_record(stack, task, outcome))
    requests = [request for link in stack.links.values() for request in link.requests]
    summary.counts["faults injected"] = sum(request.fault is not None for request in requests)
    process = dagster.submit(os.getpid).result()
    summary.memory.append((memory("VmRSS", process), memory_of_workers("VmRSS", stack.function.child.process.pid)))


def _with_record(stack: ProxiedStack, task: Task, outcome: Outcome) -> Outcome:
    return replace(
        outcome,
        record=new_record() if outcome.hung else read_record(stack.function.url, task.key),
        late_executions=deliver_again(stack.links["call"], stack.function.url, task.key),
        code_fails=task.fails,
        must_succeed=not task.fails,
    )


def _new_task(random: Random, stack: ProxiedStack) -> Task:
    behaviour = random.choice(BEHAVIOURS)
    return Task(stack.links["call"].url, stack.links["reader"].url, stack.bucket, uuid.uuid4().hex, **behaviour)
