"""Keeps account of a fault plan: which requests came, which of them were struck, and which faults were not met."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition, Event

from tests.faults.plan import Fault, FaultNotMetError, Request, Response


@dataclass(frozen=True)
class RequestRecord:
    """A request that the proxy has dealt with. It is on record before its client gets the answer.

    Attributes:
        method: The HTTP method.
        kind: The name of the match of its kind, such as "upload".
        path: The unquoted path.
        object_name: The object that it was about, if any.
        status: The status that its client was given, None if it got no answer.
        fault: The fault that struck it, if any.
        body: Its body.
    """

    method: str
    kind: str
    path: str
    object_name: str | None
    status: int | None
    fault: Fault | None
    body: bytes = field(repr=False)


@dataclass
class _Account:
    """How a fault has fared so far."""

    fault: Fault
    seen: int = 0
    strikes: int = 0
    ends_at: float | None = None

    def meet(self, request: Request, answer: Response | None, now: float) -> bool:
        """Count a request if it matches, and tell whether it is to be struck."""
        if not self.fault.match.matches(request, answer):
            return False
        self.seen += 1
        if self.ends_at is not None:
            return now < self.ends_at
        due = self.seen in self.fault.at
        if due and self.fault.action.lasts:
            self.ends_at = now + self.fault.action.lasts
        return due

    @property
    def met(self) -> bool:
        return self.strikes >= self.fault.minimum


class PlanInForce:
    """A plan that requests meet now, with its accounts.

    Attributes:
        requests: The requests since it came into force, in the order in which they were dealt with.
        over: Set when it is no longer in force: then nothing waits on its behalf any more.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.requests: list[RequestRecord] = []
        self.over = Event()
        self._accounts = [_Account(fault) for fault in faults]
        self._changed = Condition()

    def strike(self, request: Request, answer: Response | None = None) -> Fault | None:
        """Count a request, before it is delivered or with its answer, and return the fault that strikes it then."""
        with self._changed:
            now = time.monotonic()
            due = [account for account in self._accounts if account.meet(request, answer, now)]  # each counts its own
            if not due:
                return None
            due[0].strikes += 1
            self._changed.notify_all()
            return due[0].fault

    def strikes(self, fault: Fault) -> int:
        """How often a fault of the plan has struck."""
        with self._changed:
            return sum(account.strikes for account in self._accounts if account.fault == fault)

    def wait_until_met(self, timeout: float) -> None:
        """Wait until every fault of the plan has struck as often as it must.

        Raises:
            FaultNotMetError: That was not so after `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: all(account.met for account in self._accounts), timeout)
        self.check()

    def check(self) -> None:
        """Raise a `FaultNotMetError` that names the faults that were not met, if there are any."""
        with self._changed:
            missed = [account for account in self._accounts if not account.met]
        if missed:
            faults = "\n".join(
                f"  struck {account.strikes} of at least {account.fault.minimum}, {account.seen} requests matched: "
                f"{account.fault}"
                for account in missed
            )
            log = "\n".join(f"  {r.kind} {r.object_name or r.path}: {r.status}" for r in self.requests) or "  none"
            raise FaultNotMetError(f"Planned faults were not met:\n{faults}\nThe requests were:\n{log}")
