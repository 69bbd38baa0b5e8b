"""Counts the requests and the injected faults of a plan, and names the faults that were not triggered."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition, Event

from tests.faults.plan import Fault, FaultNotTriggeredError, Request, Response


@dataclass(frozen=True)
class RequestRecord:
    """A request that the proxy has handled. It is on record before its client gets the answer.

    Attributes:
        method: The HTTP method.
        kind: The kind of the match for such requests, such as "upload".
        path: The unquoted path.
        object_name: The object that it names, if any.
        status: The status that its client got, or None if it got no answer.
        fault: The fault that was injected into it, if any.
        body: Its body.
        time: When it came, in seconds since the epoch.
    """

    method: str
    kind: str
    path: str
    object_name: str | None
    status: int | None
    fault: Fault | None
    body: bytes = field(repr=False)
    time: float


@dataclass
class _Account:
    """The counts of one fault."""

    fault: Fault
    matched: int = 0
    injected: int = 0
    ends_at: float | None = None

    def count(self, request: Request, answer: Response | None, now: float) -> bool:
        """Count a request if it matches, and return whether the fault applies to it."""
        if not self.fault.match.matches(request, answer):
            return False
        self.matched += 1
        if self.ends_at is not None:
            return now < self.ends_at
        applies = self.matched in self.fault.at
        if applies and self.fault.action.lasts:
            self.ends_at = now + self.fault.action.lasts
        return applies

    @property
    def triggered(self) -> bool:
        return self.injected >= self.fault.minimum


class ActivePlan:
    """A plan whose faults are injected now, with its accounts.

    Attributes:
        requests: The requests since its start, in the order in which they were handled.
        ended: Set when it is no longer active. Then nothing waits on its behalf any more.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.requests: list[RequestRecord] = []
        self.ended = Event()
        self._accounts = [_Account(fault) for fault in faults]
        self._changed = Condition()

    def next_fault(self, request: Request, answer: Response | None = None) -> Fault | None:
        """Count a request, before it is delivered or with its answer, and return the fault to inject."""
        with self._changed:
            now = time.monotonic()
            applying = [account for account in self._accounts if account.count(request, answer, now)]
            if not applying:
                return None
            applying[0].injected += 1
            self._changed.notify_all()
            return applying[0].fault

    def injections(self, fault: Fault) -> int:
        """How often a fault of the plan has been injected."""
        with self._changed:
            return sum(account.injected for account in self._accounts if account.fault == fault)

    def wait_until_triggered(self, timeout: float) -> None:
        """Wait until every fault of the plan was injected as often as it must be.

        Raises:
            FaultNotTriggeredError: This is not so after `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: all(account.triggered for account in self._accounts), timeout)
        self.check()

    def check(self) -> None:
        """Raise a `FaultNotTriggeredError` that names the faults that were not triggered, if there are any."""
        with self._changed:
            missed = [account for account in self._accounts if not account.triggered]
        if missed:
            faults = "\n".join(
                f"  injected {account.injected} of at least {account.fault.minimum} times, {account.matched} requests "
                f"matched: {account.fault}"
                for account in missed
            )
            log = "\n".join(f"  {r.kind} {r.object_name or r.path}: {r.status}" for r in self.requests) or "  none"
            raise FaultNotTriggeredError(f"Planned faults were not triggered:\n{faults}\nThe requests were:\n{log}")
