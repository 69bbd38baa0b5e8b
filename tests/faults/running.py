"""Runs a case of the matrix with a pair, and tells what came of it."""

import time
import uuid
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Final

import requests
from dagster import DagsterInstance, ExecuteInProcessResult, materialize

from tests.dagster_runs import logged, step_error
from tests.faults.matrix import LINES, Case
from tests.faults.pairs import Pair, Parts
from tests.faults.proxy import FaultProxy
from tests.functions.record import Record
from tests.waiting import in_background, wait_until

UNHANG_TIMEOUT: Final = 180.0
"""Seconds that a run may take to end when its fault is over: the stock reader's threads have 120 s."""
QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        case: The case.
        key: The key of the run, which is the prefix of our pair's objects.
        green: Whether Dagster shows a success.
        error: The error of the step, empty if there is none.
        shown: The function's lines that Dagster shows.
        record: What the function did.
        seconds: How long the run took.
        hung: Whether it had not ended within its bound, so that it was ended by the end of the fault.
        late_executions: How often the user's code ran when the call was delivered again after the verdict.
    """

    case: Case
    key: str
    green: bool
    error: str
    shown: list[str]
    record: Record
    seconds: float
    hung: bool
    late_executions: int = 0

    @property
    def lost(self) -> int:
        """How many lines the function wrote that Dagster does not show.

        Those of a failed run that the fault has kept away for good are not counted: they are what it failed for.
        """
        written = set(self.record["lines"])
        return len((written if self.green else written & set(LINES[: self.case.lines])) - set(self.shown))

    @property
    def doubled(self) -> int:
        """How many lines Dagster shows again."""
        return len(self.shown) - len(set(self.shown))

    @property
    def run_twice(self) -> bool:
        """Whether the user's code ran more than once before the verdict."""
        return self.record["started"] > 1

    @property
    def run_late(self) -> bool:
        """Whether the user's code, which had run, ran again when the call was delivered again after the verdict."""
        return self.record["started"] > 0 and self.late_executions > 0

    @property
    def wrongly_green(self) -> bool:
        """Whether it is a success although the user's code did not end well, or messages are missing."""
        ended_well = self.record["ended"] > 0 and self.case.status in range(200, 300)
        return self.green and (not ended_well or self.lost > 0)

    @property
    def sound(self) -> bool:
        """Whether it is a success of user's code that ran once, to its end, and whose messages are all there once."""
        wrong = self.hung or self.wrongly_green or self.doubled or self.run_twice or self.run_late
        return self.green and not wrong

    @property
    def wrongly_red(self) -> bool:
        """Whether it is a failure although the user's code ran to its end, and the fault kept no message away."""
        return not self.green and self.case.error is None and self.record["ended"] > 0

    @property
    def truthful_failure(self) -> bool:
        """Whether it is a failure, and the user's code did not run to its end or the fault has earned it."""
        return not self.green and not self.wrongly_red and not self.hung


def run_case(pair: Pair, parts: Parts, case: Case) -> Outcome:
    """Run a case.

    Raises:
        FaultNotMetError: The fault did not strike.
    """
    key = uuid.uuid4().hex
    started = time.monotonic()
    with DagsterInstance.ephemeral() as instance:
        with parts.links[case.link].planned(*case.faults):
            run = in_background(lambda: _materialize(pair, parts, case, key, instance))
            hung = not wait([run], case.bound).done
            seconds = time.monotonic() - started
        result = run.result(UNHANG_TIMEOUT)
        lines = [line for line in logged(instance, result.run_id) if line in LINES]
    error = "" if result.success else step_error(result)
    record = ask_for_record(parts.function_url, key)
    late_executions = deliver_again(parts.links["call"], parts.function_url, key)
    return Outcome(case, key, result.success, error, lines, record, seconds, hung, late_executions)


def deliver_again(link: FaultProxy, function_url: str, key: str) -> int:
    """Deliver the call of a run once more, and return how often that runs the user's code."""
    bodies = [request.body for request in link.requests if key.encode() in request.body]
    for body in bodies[-1:]:
        requests.post(function_url, data=body, headers={"Content-Type": "application/json"}, timeout=60)
    return ask_for_record(function_url, key)["started"]


def ask_for_record(function_url: str, key: str) -> Record:
    """Ask the function what it has done for a key, when it does nothing more for it."""
    records: list[Record] = []

    def has_ended() -> bool:
        records.append(requests.post(function_url, json={"asked": key}, timeout=30).json())
        return records[-1]["started"] == records[-1]["ended"] + records[-1]["raised"]

    wait_until(has_ended)
    return records[-1]


def _materialize(pair: Pair, parts: Parts, case: Case, key: str, instance: DagsterInstance) -> ExecuteInProcessResult:
    return materialize(
        [pair.calling_asset(parts, {"key": key, "lines": LINES, "status": case.status})],
        resources=pair.resources(parts, key),
        instance=instance,
        run_config=QUIET,
        raise_on_error=False,
    )
