"""Dagster's side of a run, in a worker process."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from unittest import mock

import requests
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    EventLogEntry,
    ExecuteInProcessResult,
    PipesMessageHandler,
    asset,
    materialize,
)
from dagster_gcp.pipes import PipesGCSMessageReader
from dagster_pipes import PipesMessage
from google.cloud.storage import Client

from benchmarks._stock import stock_asset
from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes._messages.log_entries import DEFAULT_EVENT_LOG_LEVEL, DEFAULT_LINES_PER_ENTRY
from tests.dagster_runs import calling_asset, step_error
from tests.memory import memory

Event = Mapping[str, Any]
Implementation = Literal["ours", "stock"]
Storage = Literal["memory", "sqlite"]
OUR_OWN: Final = "[pipes]"


@dataclass(frozen=True)
class Task:
    """A run to be made.

    Attributes:
        implementation: Which implementation.
        function_url: Its function.
        bucket: The bucket for the messages.
        events: The event of each asset of the run, by the asset's name.
        interval: Seconds between two polls and between two uploads of stock, or None for its default.
        storage: Where Dagster keeps the event log.
        log_lines_per_entry: The resource's field of that name.
        event_log_level: The resource's field of that name.
        messages: The resource's field of that name.
    """

    implementation: Implementation
    function_url: str
    bucket: str
    events: Mapping[str, Event]
    interval: float | None = None
    storage: Storage = "memory"
    log_lines_per_entry: int = DEFAULT_LINES_PER_ENTRY
    event_log_level: str = DEFAULT_EVENT_LOG_LEVEL
    messages: str = "bucket"


@dataclass(frozen=True)
class Line:
    """One line that an asset logged. An entry of the event log may have several.

    Attributes:
        asset: The name of the asset.
        text: The line.
        arrived: The entry's timestamp, in seconds since the epoch.
    """

    asset: str
    text: str
    arrived: float


@dataclass(frozen=True)
class Measurement:
    """What was measured of a run.

    Attributes:
        success: Whether the run is green.
        seconds: How long it took.
        error: Why it is not green.
        lines: The lines that the assets and Pipes itself logged.
        entry_count: How many entries of the event log have them, without those of Pipes itself.
        handling_seconds: How much of the time Dagster's message handler took.
        peak_memory: The peak memory of the worker process after the run, in bytes.
    """

    success: bool
    seconds: float
    error: str
    lines: list[Line]
    entry_count: int
    handling_seconds: float
    peak_memory: int

    def texts(self, asset_name: str = "asset") -> list[str]:
        """The lines that an asset logged, without those of Pipes itself."""
        return [line.text for line in self.lines if line.asset == asset_name and not line.text.startswith(OUR_OWN)]


@dataclass(frozen=True)
class OverheadSample:
    """The parts of one measurement of the overhead, made one right after the other, in seconds.

    Attributes:
        empty_run: How long a run takes whose asset does nothing.
        plain_call: How long a plain POST takes.
        pipes_run: How long the run takes whose asset makes the call.
        pipes_step: How long its step takes: without the set-up of the run and its resources.
    """

    empty_run: float
    plain_call: float
    pipes_run: float
    pipes_step: float

    @property
    def overhead(self) -> float:
        """What Pipes adds to the run."""
        return self.pipes_run - self.empty_run - self.plain_call

    @property
    def overhead_of_call(self) -> float:
        """What Pipes adds to the call alone."""
        return self.pipes_step - self.plain_call


@dataclass
class _Stopwatch:
    seconds: float = 0.0


def make_run(task: Task) -> Measurement:
    """Make a run, and measure it."""
    with _time_of_handling() as handling:
        measured = _make_run(task)
    return replace(measured, handling_seconds=handling.seconds)


def make_runs_at_once(tasks: list[Task]) -> list[Measurement]:
    """Make several runs at the same time, each with an instance of its own."""
    with ThreadPoolExecutor(len(tasks)) as threads:
        return list(threads.map(_make_run, tasks))


def log_alone(count: int, storage: Storage) -> Measurement:
    """Log as many lines from a plain asset, which costs Dagster alone."""

    @asset(name="asset")
    def logging_asset(context: AssetExecutionContext) -> None:
        for number in range(count):
            context.log.info(f"alone {number} {time.time():.6f}")

    with _new_instance(storage) as instance:
        started = time.monotonic()
        result = materialize([logging_asset], instance=instance)
        return Measurement(result.success, time.monotonic() - started, "", [], 0, 0.0, memory("VmHWM"))


def sample_overhead(task: Task, plain_url: str) -> OverheadSample:
    """Measure an empty run, a plain call of the same behaviour, and the run through Pipes."""

    @asset(name="asset")
    def empty_asset() -> None:
        pass

    with DagsterInstance.ephemeral() as instance:
        started = time.monotonic()
        materialize([empty_asset], instance=instance)
        empty_run_ended = time.monotonic()
        requests.post(plain_url, json=task.events["asset"]).raise_for_status()
        plain_call_ended = time.monotonic()
        result = _materialize(task, instance)
        ended = time.monotonic()
    if not result.success:
        raise RuntimeError(f"Expected the run to succeed, but it failed: {_error(result)}")
    (step,) = (event for event in result.all_events if event.is_step_success)
    return OverheadSample(
        empty_run_ended - started,
        plain_call_ended - empty_run_ended,
        ended - plain_call_ended,
        step.step_success_data.duration_ms / 1000,
    )


def _make_run(task: Task) -> Measurement:
    with _new_instance(task.storage) as instance:
        started = time.monotonic()
        result = _materialize(task, instance)
        seconds = time.monotonic() - started
        peak = memory("VmHWM")
        entries = [entry for entry in instance.all_logs(result.run_id) if not entry.is_dagster_event]
        count = sum(not entry.user_message.startswith(OUR_OWN) for entry in entries)
        return Measurement(result.success, seconds, _error(result), _lines(entries), count, 0.0, peak)


def _materialize(task: Task, instance: DagsterInstance) -> ExecuteInProcessResult:
    resources: dict[str, object]
    if task.implementation == "ours":
        assets = [calling_asset(task.function_url, dict(event), name=name) for name, event in task.events.items()]
        client = PipesCloudFunctionClient(
            messages=task.messages,
            bucket=task.bucket if task.messages == "bucket" else "",
            log_lines_per_entry=task.log_lines_per_entry,
            event_log_level=task.event_log_level,
        )
        resources = {"cloud_function": client}
    else:
        interval = {} if task.interval is None else {"writer_interval": task.interval}
        assets = [
            stock_asset(task.function_url, {**event, **interval}, name=name) for name, event in task.events.items()
        ]
        resources = {"message_reader": _stock_reader(task)}
    return materialize(assets, instance=instance, resources=resources, raise_on_error=False)


def _stock_reader(task: Task) -> PipesGCSMessageReader:
    options: dict[str, Any] = {} if task.interval is None else {"interval": task.interval}
    return PipesGCSMessageReader(bucket=task.bucket, client=Client(), **options)


@contextmanager
def _new_instance(storage: Storage) -> Iterator[DagsterInstance]:
    if storage == "memory":
        with DagsterInstance.ephemeral() as instance:
            yield instance
    else:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
            DagsterInstance.local_temp(directory) as instance,
        ):
            yield instance


@contextmanager
def _time_of_handling() -> Iterator[_Stopwatch]:
    """Add up the time that Dagster's message handler takes while the block runs."""
    stopwatch = _Stopwatch()
    original = PipesMessageHandler.handle_message

    def handle_message(handler: PipesMessageHandler, message: PipesMessage) -> None:
        started = time.perf_counter()
        original(handler, message)
        stopwatch.seconds += time.perf_counter() - started

    with mock.patch.object(PipesMessageHandler, "handle_message", handle_message):
        yield stopwatch


def _lines(entries: list[EventLogEntry]) -> list[Line]:
    return [
        Line(asset=entry.step_key or "", text=line, arrived=entry.timestamp)
        for entry in entries
        for line in entry.user_message.split("\n")
    ]


def _error(result: ExecuteInProcessResult) -> str:
    failed = [event.step_key for event in result.get_step_failure_events() if event.step_key]
    return "; ".join(step_error(result, step) for step in failed)
