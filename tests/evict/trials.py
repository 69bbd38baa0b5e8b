"""Kills once, starts again as often as Dagster does, and looks at the end."""

import json
import uuid
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Any, Final

from dagster import DagsterEventType, DagsterRun, DagsterRunStatus, EventLogEntry
from dagster._core.errors import DagsterInvalidSubsetError

from tests.evict.boundaries import Phase, Plan, Role
from tests.evict.cases import Case, Setup
from tests.evict.daemon import Daemon
from tests.evict.jobs import CUSTOM_MESSAGES
from tests.evict.stack import Dagster, Stack, running_groups
from tests.waiting import wait_until

LINES: Final = 10
INTERVAL: Final = 0.1
WORKER_BOUND: Final = 120.0
"""Seconds in which a run worker and its steps must end."""
MAX_RUNS: Final = 4
ALL_SUCCEEDED: Final = "all steps have succeeded"
HUNG: Final = "hung"


@dataclass(frozen=True)
class Outcome:
    """What the user sees in the end.

    Attributes:
        case: The kill.
        phase: The phase of the call in which it happened, or None if its boundary was not reached.
        executions: How often the user's code ran.
        lost: How many lines, custom messages and results the step that succeeded does not have.
        doubled: How many of them it has again.
        recorded_again: How many results are in the event log from other attempts: of a step that was killed after it
            recorded them, or of two that ran at once.
        wrong_end: What is wrong with the end, or empty.
        history: What happened to each run.
        seconds: How long it took.
    """

    case: Case
    phase: Phase | None
    executions: int = 0
    lost: int = 0
    doubled: int = 0
    recorded_again: int = 0
    wrong_end: str = ""
    history: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the user's code ran once, and everything is there once."""
        return self.executions == 1 and not (self.lost or self.doubled or self.wrong_end)

    def __str__(self) -> str:
        return (
            f"{self.case} [{self.phase.value if self.phase else 'not reached'}]: {self.executions} executions, lost "
            f"{self.lost}, doubled {self.doubled}, recorded again {self.recorded_again}{self.wrong_end and ', '}"
            f"{self.wrong_end}; {' > '.join(self.history)} ({self.seconds:.1f} s)"
        )


def run_case(stack: Stack, case: Case) -> Outcome:
    """Make a run, kill as the case says, start again until it has succeeded, and return the outcome."""
    return _run_case(stack, case, _new_plan(stack, case))


def run_daemon_case(stack: Stack, daemon: Daemon, case: Case) -> Outcome:
    """Do the same, but leave it to the daemon to start again."""
    return _run_case(stack, case, _new_plan(stack, case), daemon)


def crossed(stack: Stack, case: Case) -> dict[Role, list[str]]:
    """Make a run without a kill, and return the boundaries that each of its processes has crossed."""
    plan = _new_plan(stack, case)
    outcome = _run_case(stack, case, plan)
    if not outcome.good or len(outcome.history) > 1:
        raise RuntimeError(f"Expected a run that nobody kills to succeed, but: {outcome}")
    roles: tuple[Role, ...] = ("step process", "run worker")
    files = {role: Path(plan.folder, role) for role in roles}
    return {role: file.read_text().splitlines() for role, file in files.items() if file.exists()}


def _new_plan(stack: Stack, case: Case) -> Plan:
    folder = stack.folder / f"plan-{uuid.uuid4().hex}"
    folder.mkdir()
    return Plan(str(folder), case.role, case.boundary, case.delay, case.victim, case.signum)


def _run_case(stack: Stack, case: Case, plan: Plan, daemon: Daemon | None = None) -> Outcome:
    started, key = monotonic(), uuid.uuid4().hex
    dagster = stack.resuming if case.setup is Setup.RESUMED else daemon.dagster if daemon else stack.retrying
    event = {"key": key, "lines": LINES, "interval": INTERVAL, "pause": case.pause}
    run = dagster.create_run(f"{case.implementation}_{case.setup.job}", event)
    if daemon:
        runs = daemon.run_until_success(run, plan)
        history = [each.status.value for each in runs]
    else:
        runs, history = _run_until_success(stack, dagster, case, run, plan)
    wait_until(lambda: not stack.executions(key)[1], timeout=60)
    struck = Path(plan.folder, "struck")
    phase = Phase(struck.read_text()) if struck.exists() else None
    outcome = Outcome(case, phase, executions=stack.executions(key)[0], history=tuple(history))
    return replace(_with_results(dagster, runs, outcome), seconds=monotonic() - started)


def _run_until_success(
    stack: Stack, dagster: Dagster, case: Case, run: DagsterRun, plan: Plan
) -> tuple[list[DagsterRun], list[str]]:
    """Execute a run and the runs that follow it; return them, and what happened to each."""
    runs, history = [run], []
    process = stack.start_worker(dagster, run, case.implementation, plan, resumes=False)
    processes = [process]
    for attempt in range(1, MAX_RUNS):
        process.join(WORKER_BOUND)
        status = _status(dagster, run)
        history.append(f"{status.value} ({_ending(process)})")
        if status is DagsterRunStatus.SUCCESS:
            break
        resumes = case.setup is Setup.RESUMED and status is DagsterRunStatus.STARTED
        if resumes:
            dagster.resume(run, attempt)
        else:
            if not _reload(dagster, run).is_finished:
                dagster.instance.report_run_failed(_reload(dagster, run))
            try:
                run = dagster.reexecute(_reload(dagster, run))
            except DagsterInvalidSubsetError:
                history.append(ALL_SUCCEEDED)
                break
            runs.append(run)
        process = stack.start_worker(dagster, run, case.implementation, None, resumes=resumes)
        processes.append(process)
    groups = {each.pid for each in processes if each.pid}
    try:
        wait_until(lambda: running_groups().isdisjoint(groups), timeout=WORKER_BOUND)
    except TimeoutError:
        history.append(HUNG)
        stack.kill_groups(groups)
    return runs, history


def _ending(process: BaseProcess) -> str:
    return HUNG if process.exitcode is None else f"exit {process.exitcode}"


def _reload(dagster: Dagster, run: DagsterRun) -> DagsterRun:
    reloaded = dagster.instance.get_run_by_id(run.run_id)
    assert reloaded
    return reloaded


def _status(dagster: Dagster, run: DagsterRun) -> DagsterRunStatus:
    return _reload(dagster, run).status


def _with_results(dagster: Dagster, runs: list[DagsterRun], outcome: Outcome) -> Outcome:
    """Return the outcome with what the event log has."""
    logs = [_events(dagster, run) for run in runs]
    successful = [log for log in logs if _successes(log)]
    results = sum(len(_results(log)) for log in logs)
    if not successful:
        return replace(outcome, lost=3 * LINES, wrong_end="the step has not succeeded")
    final = _attempt_that_succeeded(successful[-1])
    found = [*_lines(final), *_custom_messages(final), *_results(final)]
    expected = {f"line {number}" for number in range(LINES)} | {f"custom {number}" for number in range(LINES)}
    expected |= {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION"}
    green = _status(dagster, runs[-1]) is DagsterRunStatus.SUCCESS or ALL_SUCCEEDED in outcome.history
    hung = any(HUNG in each for each in outcome.history)
    return replace(
        outcome,
        lost=len(expected - set(found)),
        doubled=len(found) - len(set(found)),
        recorded_again=results - len(_results(final)),
        wrong_end=HUNG if hung else "" if green else "the last run has not succeeded",
    )


def _events(dagster: Dagster, run: DagsterRun) -> list[EventLogEntry]:
    return [entry for entry in dagster.instance.all_logs(run.run_id) if entry.step_key]


def _is(entry: EventLogEntry, *types: DagsterEventType) -> bool:
    return entry.dagster_event is not None and entry.dagster_event.event_type in types


def _successes(log: list[EventLogEntry]) -> list[int]:
    return [number for number, entry in enumerate(log) if _is(entry, DagsterEventType.STEP_SUCCESS)]


def _attempt_that_succeeded(log: list[EventLogEntry]) -> list[EventLogEntry]:
    """Return the events from the last start of the step before its last success."""
    end = _successes(log)[-1]
    started = (DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED)
    starts = [number for number, entry in enumerate(log[:end]) if _is(entry, *started)]
    return log[starts[-1] : end]


def _lines(log: list[EventLogEntry]) -> list[str]:
    messages = [line for entry in log if not entry.is_dagster_event for line in entry.user_message.splitlines()]
    return [line for line in messages if line.startswith("line ")]


def _custom_messages(log: list[EventLogEntry]) -> list[str]:
    logged = [entry.user_message for entry in log if entry.user_message.startswith(CUSTOM_MESSAGES)]
    numbers: list[Any] = json.loads(logged[-1].removeprefix(CUSTOM_MESSAGES)) if logged else []
    return [f"custom {number}" for number in numbers]


def _results(log: list[EventLogEntry]) -> list[str]:
    types = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION)
    return [entry.get_dagster_event().event_type_value for entry in log if _is(entry, *types)]
