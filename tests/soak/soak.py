"""Makes rounds of runs, a few at a time, for so long."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager
from random import Random
from typing import Any, Final

from local_stack.emulators import available_emulators, run_emulator
from local_stack.functions import FunctionServer, run_function
from local_stack.memory import memory, memory_of_workers
from tests.conftest import FUNCTIONS
from tests.faults import FaultProxy
from tests.faults.matrix import Link
from tests.faults.pairs import storage_client
from tests.faults.running import ask_for_record, deliver_again
from tests.functions.record import new_record
from tests.soak.faults import sporadic_faults
from tests.soak.runs import Task, make_runs, running_dagster
from tests.soak.summary import Summary

AT_ONCE: Final = 4
RUN_BOUND: Final = 90.0
"""Seconds within which a run must have ended: its function has 30 s."""
BUCKET: Final = "bucket-of-the-soak"
KINDS: Final[tuple[dict[str, Any], ...]] = (
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
    with _stack(seed) as (links, function), running_dagster() as dagster:
        while not summary.memory or time.monotonic() < deadline:
            _make_round(random, links, function, dagster, summary)
            on_round(summary)
    return summary


@contextmanager
def _stack(seed: int) -> Iterator[tuple[dict[Link, FaultProxy], FunctionServer]]:
    plans = sporadic_faults(seed)
    with ExitStack() as stack:
        emulator = stack.enter_context(run_emulator(available_emulators()[0]))
        with closing(storage_client(emulator.url)) as admin:
            admin.create_bucket(BUCKET)
        enforce = not emulator.honours_preconditions
        writer = stack.enter_context(FaultProxy(emulator.url, plans["writer"], enforce_preconditions=enforce))
        reader = stack.enter_context(FaultProxy(emulator.url, plans["reader"]))
        function = stack.enter_context(run_function(FUNCTIONS / "soak" / "main.py", emulator_url=writer.url))
        call = stack.enter_context(FaultProxy(function.url, plans["call"]))
        yield {"writer": writer, "reader": reader, "call": call}, function


def _make_round(
    random: Random, links: dict[Link, FaultProxy], function: FunctionServer, dagster: Executor, summary: Summary
) -> None:
    tasks = [_new_task(random, links) for _ in range(AT_ONCE)]
    for task, result in zip(tasks, dagster.submit(make_runs, tasks, RUN_BOUND).result(), strict=True):
        record = new_record() if result.hung else ask_for_record(function.url, task.key)
        record["started"] += deliver_again(links["call"], function.url, task.key)
        summary.add(task, result, record)
    requests = [request for link in links.values() for request in link.requests]
    summary.counts["faults met"] = sum(request.fault is not None for request in requests)
    process = dagster.submit(os.getpid).result()
    summary.memory.append((memory("VmRSS", process), memory_of_workers("VmRSS", function.child.process.pid)))


def _new_task(random: Random, links: dict[Link, FaultProxy]) -> Task:
    kind = random.choice(KINDS)
    return Task(links["call"].url, links["reader"].url, BUCKET, uuid.uuid4().hex, **kind)
