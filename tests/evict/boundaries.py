"""Numbers the boundaries that a process of Dagster crosses, and sends a signal at one of them.

A boundary is the moment before or after a write to the event log or an HTTP request, or a place that the job names.
It works without knowledge of the package: it wraps Dagster's event storages, and what sends all HTTP requests.
"""

import functools
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from http.client import HTTPConnection
from pathlib import Path
from threading import Lock, Timer, get_ident
from typing import Any, Final, Literal

from dagster import DagsterEventType, EventLogEntry
from dagster._core.events import EngineEventData
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from urllib3 import HTTPConnectionPool

from dagster_gcf_pipes.testing._batches import BATCH_PATH

PLAN_VARIABLE: Final = "EVICT_PLAN"
"""The environment variable that names the file with the plan. Without it, nothing is counted and nothing is killed."""
HANDLE_KEY: Final = "dagster_pipes/launch_handle"
RUN_RETURNED: Final = "`run` returned"

Role = Literal["step process", "run worker"]
Victim = Literal["step process", "run worker", "executor"]
"""The executor is the run worker with its step processes."""


class Phase(str, Enum):
    """A phase in the life of a call, as the step's process sees it."""

    BEFORE_RECORD = "before the record"
    RECORDED = "between record and POST"
    SENT = "sent, not yet opened"
    STREAMING = "while it streams"
    RESPONDED = "the function has responded"
    RETURNED = "after `run` returned"
    SUCCEEDED = "after the step's success"


@dataclass(frozen=True)
class Plan:
    """What is to be killed, and when.

    Attributes:
        folder: The folder for what was seen.
        role: The process that counts, or None if nothing is to be killed.
        boundary: The boundary.
        delay: Seconds from the start of the POST, in place of a boundary.
        victim: What gets the signal.
        signum: The signal.
    """

    folder: str
    role: Role | None = None
    boundary: str = ""
    delay: float | None = None
    victim: Victim = "step process"
    signum: int = signal.SIGKILL

    def write(self) -> Path:
        """Write the plan to its folder; return the file for `PLAN_VARIABLE`."""
        file = Path(self.folder, "plan.json")
        file.write_text(json.dumps(asdict(self)))
        return file


class Boundaries:
    """The boundaries that this process has crossed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = Path(plan.folder)
        self._counter: Counter[str] = Counter()
        self._lock = Lock()

    @property
    def _role(self) -> Role:
        return "run worker" if os.getpid() == os.getpgrp() else "step process"

    def cross(self, label: str) -> None:
        """Note a boundary, and send the signal if the plan names it."""
        with self._lock:
            self._counter[label] += 1
            boundary = f"{label} #{self._counter[label]}"
            with (self._folder / self._role).open("a") as crossed:
                crossed.write(f"{boundary}\n")
        if (self._role, boundary) == (self._plan.role, self._plan.boundary):
            self._strike(boundary)

    def enter(self, phase: Phase) -> None:
        """Note that the call has reached a phase; with the POST, the time of the plan starts to run."""
        written = self._folder / f"phase-{get_ident()}"
        written.write_text(phase)
        written.replace(self._folder / "phase")  # a strike in another thread or process reads all of it or nothing
        if phase is Phase.SENT and self._plan.delay is not None:
            timer = Timer(self._plan.delay, self._strike, [f"{self._plan.delay:.2f} s after the POST"])
            timer.daemon = True
            timer.start()

    def _strike(self, where: str) -> None:
        phase = self._folder / "phase"
        try:
            with (self._folder / "struck").open("x") as struck:
                struck.write(phase.read_text() if phase.exists() else Phase.BEFORE_RECORD)
        except FileExistsError:
            return  # only the first attempt is killed
        (self._folder / "where").write_text(where)
        if self._plan.victim == "executor":
            os.killpg(0, self._plan.signum)
        else:
            os.kill(self._pid_of_victim(), self._plan.signum)

    def _pid_of_victim(self) -> int:
        return os.getppid() if (self._role, self._plan.victim) == ("step process", "run worker") else os.getpid()


_boundaries: Boundaries | None = None


def cross(label: str) -> None:
    """Note a boundary that the code itself names."""
    if _boundaries:
        if label == RUN_RETURNED:
            _boundaries.enter(Phase.RETURNED)
        _boundaries.cross(label)


def install() -> None:
    """Count the boundaries of this process and of those that it forks, if there is a plan."""
    global _boundaries  # noqa: PLW0603 - it belongs to the process
    file = os.environ.get(PLAN_VARIABLE)
    if not file or _boundaries or not Path(file).exists():
        return
    plan = Plan(**json.loads(Path(file).read_text()))
    _boundaries = Boundaries(plan)
    os.register_at_fork(after_in_child=functools.partial(_start_anew, plan))
    for storage in (SqliteEventLogStorage, PostgresEventLogStorage):
        storage.store_event = _crossing_event(storage.store_event)  # type: ignore[assignment, method-assign]
    HTTPConnection.getresponse = _crossing_once_sent(HTTPConnection.getresponse)  # type: ignore[method-assign]
    HTTPConnectionPool.urlopen = _crossing_request(HTTPConnectionPool.urlopen)  # type: ignore[method-assign]


def _start_anew(plan: Plan) -> None:
    global _boundaries  # noqa: PLW0603
    _boundaries = Boundaries(plan)


def _crossing_event(original: Callable[[Any, EventLogEntry], None]) -> Callable[[Any, EventLogEntry], None]:
    """Wrap what stores an event."""

    @functools.wraps(original)
    def crossing(storage: Any, event: EventLogEntry) -> None:
        with _boundary(_event_label(event)) as boundaries:
            original(storage, event)
            if phase := _phase_after_event(event):
                boundaries.enter(phase)

    return crossing


def _crossing_request(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what sends a request and returns the response."""

    @functools.wraps(original)
    def crossing(pool: HTTPConnectionPool, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        request = _Request(method, f"{pool.scheme}://{pool.host}:{pool.port}{url}")
        with _boundary(request.label) as boundaries:
            if request.is_call:
                boundaries.enter(Phase.SENT)
            response = original(pool, method, url, *arguments, **options)
            if phase := request.phase_after(response.status):
                boundaries.enter(phase)
        return response

    return crossing


@contextmanager
def _boundary(label: str) -> Iterator[Boundaries]:
    assert _boundaries
    _boundaries.cross(f"before {label}")
    yield _boundaries
    _boundaries.cross(f"after {label}")


def _crossing_once_sent(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what waits for a response: when it starts, the request is sent."""

    @functools.wraps(original)
    def crossing(connection: HTTPConnection) -> Any:
        if f"//{connection.host}:{connection.port}" in os.environ["EVICT_FUNCTION_URL"]:
            cross("the POST is sent")
        return original(connection)

    return crossing


def _event_label(entry: EventLogEntry) -> str:
    if not entry.dagster_event:
        return "a log line"
    return "the record" if _is_record(entry) else entry.dagster_event.event_type_value


def _phase_after_event(entry: EventLogEntry) -> Phase | None:
    if _is_record(entry):
        return Phase.RECORDED
    succeeded = entry.dagster_event and entry.dagster_event.event_type is DagsterEventType.STEP_SUCCESS
    return Phase.SUCCEEDED if succeeded else None


def _is_record(entry: EventLogEntry) -> bool:
    data = entry.dagster_event.event_specific_data if entry.dagster_event else None
    return isinstance(data, EngineEventData) and HANDLE_KEY in data.metadata


@dataclass(frozen=True)
class _Request:
    method: str
    url: str

    @property
    def label(self) -> str:
        return "the POST" if self.is_call else f"{self.method} {self._object}"

    @property
    def is_call(self) -> bool:
        return self.method == "POST" and self.url.startswith(os.environ["EVICT_FUNCTION_URL"])

    def phase_after(self, status: int) -> Phase | None:
        if self.is_call:
            return Phase.RESPONDED
        opened = self.method == "GET" and self._object == "1.json" and status == 200
        return Phase.STREAMING if opened else None

    @property
    def _object(self) -> str:
        path = self.url.partition("?")[0].replace("%2F", "/")
        name = path.rpartition("/")[2]
        return "batch" if path.endswith(BATCH_PATH) else name if name.endswith(".json") or name == "o" else "object"
