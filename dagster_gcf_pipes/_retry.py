"""Decides what follows a call that ended: nothing, another attempt, or the reading of a run whose call was lost.

Another attempt posts the same body for the same session. That is safe whenever the function claims its session, as
`gcf_pipes` does: however often the call is delivered, the user's code runs at most once.
"""

import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dagster_gcf_pipes._verdict import CallRecord

NO_RESPONSE: Final = "no_response"
DEFAULT_RETRY_ON: Final = ("429", "5xx", NO_RESPONSE)
"""No instance has taken the request (429, and 500 or 503 as well), or the call was lost before a session was opened.

Source: https://cloud.google.com/run/docs/troubleshooting ("The request was aborted because there was no available
instance").
"""
_SERVICE_UNAVAILABLE: Final = 503


class NextStep(Enum):
    """What follows a call that ended."""

    FINISH = auto()
    RETRY = auto()
    FOLLOW = auto()


@dataclass(frozen=True)
class RetryPolicy:
    """After what a call is attempted again, how often, and how long it is waited before another attempt.

    Attributes:
        retry_on: Outcomes of a call: HTTP statuses such as "429", classes of them such as "5xx", and "no_response".
        max_attempts: Attempts in all; 1 means no other.
        initial_delay: Seconds before the second attempt; each further delay is twice as long.
        max_delay: The longest delay, in seconds.
        timeout: Seconds after the first attempt's start in which another may start.
    """

    retry_on: frozenset[str]
    max_attempts: int
    initial_delay: float
    max_delay: float
    timeout: float

    def delay_before(self, attempt: int) -> float:
        """Seconds to wait before an attempt, the second or a later one: half of them fixed, half of them random."""
        longest: float = min(self.initial_delay * 2 ** (attempt - 2), self.max_delay)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - it parts the callers, it hides no secret

    def allows(self, attempt: int, elapsed: float) -> bool:
        """Whether that attempt may start, `elapsed` seconds after the first."""
        return attempt <= self.max_attempts and elapsed <= self.timeout

    def covers(self, call: CallRecord) -> bool:
        """Whether such a call may be attempted again; a refusal of the function's runtime is mostly final."""
        if call.identity_error is not None:
            return call.identity_error.allow_retries
        if call.error_code is not None and call.status != _SERVICE_UNAVAILABLE:
            return False
        outcomes = {NO_RESPONSE} if call.status is None else {str(call.status), f"{call.status // 100}xx"}
        return not outcomes.isdisjoint(self.retry_on)


def next_step(call: CallRecord, policy: RetryPolicy, *, opened: bool) -> NextStep:
    """Return what follows a call that ended, knowing whether the function has opened its Pipes session."""
    if call.claimed_by_another or (opened and call.may_go_on):
        return NextStep.FOLLOW
    if not opened and policy.covers(call):
        return NextStep.RETRY
    return NextStep.FINISH
