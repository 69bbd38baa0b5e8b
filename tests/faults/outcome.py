"""Makes runs, and compares what Dagster shows of each with what its function did."""

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from typing import Any, Final

import requests
from dagster import AssetsDefinition, DagsterInstance, materialize

from tests.dagster_runs import calling_asset, logged, materializations, step_error
from tests.faults.matrix import LINES, RUN_BOUND, Case
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient, ProxiedStack
from tests.functions.record import Record, new_record
from tests.waiting import in_background, wait_for_cleanup, wait_until

UNHANG_TIMEOUT: Final = 180.0
"""Seconds in which a hung run must end after its fault: the stock reader's threads have 120 s."""
QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Calling = tuple[AssetsDefinition, dict[str, Any]]
"""The asset `orders`, which calls the function, and its resources."""
Implementation = Callable[[ProxiedStack, str, dict[str, Any]], Calling]
"""Calls the function of a stack, for a key, with an event."""


@dataclass(frozen=True)
class Outcome:
    """What Dagster shows of a run, and what its function did.

    Attributes:
        key: The key of the run.
        green: Whether Dagster shows a success.
        error: The error of the step, empty if there is none.
        shown: The function's lines and materializations that Dagster shows, in order.
        seconds: How long the run took.
        hung: Whether it had not ended within its bound.
        record: What the function did.
        late_executions: How often the user's code ran when the call was delivered again after the verdict.
        code_fails: Whether the user's code raises, or returns a status that is not 2xx.
        must_succeed: Whether the faults leave no reason to fail.
        deliverable: The lines that the faults let through, or None if all.
    """

    key: str
    green: bool = False
    error: str = ""
    shown: list[str] = field(default_factory=list)
    seconds: float = 0.0
    hung: bool = False
    record: Record = field(default_factory=new_record)
    late_executions: int = 0
    code_fails: bool = False
    must_succeed: bool = True
    deliverable: Sequence[str] | None = None

    @property
    def lost(self) -> int:
        """How many lines the function wrote that Dagster does not show.

        In a failed run, lines that the fault kept away for good do not count: they are the reason of the failure.
        """
        written = set(self.record["lines"])
        if not self.green and self.deliverable is not None:
            written &= set(self.deliverable)
        return len(written - set(self.shown))

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
        """Whether the user's code had run, and ran again for the delivery after the verdict."""
        return self.record["started"] > 0 and self.late_executions > 0

    @property
    def wrongly_green(self) -> bool:
        """Whether it is a success although the user's code failed or did not end, or messages are missing."""
        return self.green and (self.code_fails or not self.record["ended"] or self.lost > 0)

    @property
    def wrongly_red(self) -> bool:
        """Whether it is a failure although the user's code ran to its end, and the fault kept no message away."""
        return not self.green and self.must_succeed and self.record["ended"] > 0

    @property
    def truthful_failure(self) -> bool:
        """Whether it is a failure with a reason: the user's code or the fault."""
        return not self.green and not self.wrongly_red and not self.hung

    @property
    def sound(self) -> bool:
        """Whether it is a success of user's code that ran once, to its end, and all messages are there once."""
        wrong = self.hung or self.wrongly_green or self.doubled or self.run_twice or self.run_late
        return self.green and not wrong


def ours(stack: ProxiedStack, key: str, event: dict[str, Any]) -> Calling:
    """Call with `PipesCloudFunctionClient`, with shorter and fewer pauses between attempts than by default."""
    client = ProxiedClient(
        bucket=stack.bucket,
        key_prefix=key,
        api_endpoint=stack.links["reader"].url,
        function_timeout=20,
        drain_timeout=1,
        max_attempts=3,
        retry_delay=0.4,
    )
    return calling_asset(stack.links["call"].url, event), {"cloud_function": client}


def run_case(stack: ProxiedStack, case: Case, implementation: Implementation = ours) -> Outcome:
    """Run a case.

    Raises:
        FaultNotTriggeredError: A fault was not injected.
    """
    key = uuid.uuid4().hex
    calling = implementation(stack, key, {"key": key, "lines": LINES, "status": case.status})
    with stack.links[case.link].planned(*case.faults):
        run = in_background(lambda: make_run(key, calling))
        hung = not wait([run], RUN_BOUND).done
    return replace(
        run.result(UNHANG_TIMEOUT),
        hung=hung,
        record=read_record(stack.function.url, key),
        late_executions=deliver_again(stack.links["call"], stack.function.url, key),
        code_fails=case.status not in range(200, 300),
        must_succeed=case.error is None,
        deliverable=LINES[: case.lines],
    )


def make_run(key: str, calling: Calling) -> Outcome:
    """Make a run, and return what Dagster shows of it."""
    asset, resources = calling
    started = time.monotonic()
    with DagsterInstance.ephemeral() as instance:
        result = materialize([asset], resources=resources, instance=instance, run_config=QUIET, raise_on_error=False)
        seconds = time.monotonic() - started
        wait_for_cleanup()
        metadata = [each.metadata for each in materializations(instance, result.run_id)]
        shown = [line for line in logged(instance, result.run_id) if line.startswith("line ")]
    shown += [f"materialization after {each['lines'].value} lines" for each in metadata if "lines" in each]
    return Outcome(key, result.success, "" if result.success else step_error(result), shown, seconds)


def deliver_again(link: FaultProxy, function_url: str, key: str) -> int:
    """Deliver the call of a run once more, and return how often that runs the user's code."""
    bodies = [request.body for request in link.requests if key.encode() in request.body]
    for body in bodies[-1:]:
        requests.post(function_url, data=body, headers={"Content-Type": "application/json"}, timeout=60)
    return read_record(function_url, key)["started"]


def read_record(function_url: str, key: str) -> Record:
    """Wait until the user's code does not run for a key, and return the function's record of it."""
    records: list[Record] = []

    def has_ended() -> bool:
        records.append(requests.post(function_url, json={"asked": key}, timeout=30).json())
        return records[-1]["started"] == records[-1]["ended"] + records[-1]["raised"]

    wait_until(has_ended)
    return records[-1]
