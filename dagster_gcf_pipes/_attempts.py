"""Makes a call: attempts it, retries it, and waits for the end of a function whose response was lost.

A retry posts the same body for the same session. That is safe whenever the function claims its session, as `gcf_pipes`
does: however often the call is delivered, the user's code runs at most once.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum, auto
from logging import Logger
from threading import Thread
from typing import Final, TypeAlias

import requests

from dagster_gcf_pipes._cancel_marker import Claim
from dagster_gcf_pipes._http import AnsweredBy, Attempt
from dagster_gcf_pipes._reader_session import ReaderSession, SessionRecord

NO_RESPONSE: Final = "no_response"
DEFAULT_RETRY_ON: Final = ("429", "5xx", NO_RESPONSE)
"""No instance has taken the request (429, and 500 or 503 as well), or the call was lost before a session was opened.

Source: https://cloud.google.com/run/docs/troubleshooting ("The request was aborted because there was no available
instance").
"""
RESPONSE_TIMEOUT: Final = 90.0
"""Seconds to wait for the response of a function that has closed its session. It mostly comes at once; a large one over
a slow line takes longer, and one that never comes changes nothing but the `response`."""
SLICE: Final = 1.0
"""Seconds between two looks at the clock while waiting."""
_PLAIN_FUNCTION_MAY_RUN: Final = frozenset({502, 503, 504})
_SERVICE_UNAVAILABLE: Final = 503

Post: TypeAlias = Callable[[], tuple[Attempt, requests.Response | None]]


class NextStep(Enum):
    """What follows an attempt."""

    DONE = auto()
    RETRY = auto()
    WAIT_FOR_CLOSE = auto()


@dataclass(frozen=True)
class RetryPolicy:
    """When to retry a call, how often, and how long to wait.

    Attributes:
        retry_on: Outcomes of an attempt: HTTP statuses such as "429", classes of them such as "5xx", and "no_response".
        max_attempts: Attempts in all; 1 means no retry.
        initial_delay: Seconds before the second attempt; each further delay is twice as long.
        max_delay: The longest delay, in seconds.
        timeout: Seconds after the first attempt's start in which a retry may start.
    """

    retry_on: frozenset[str]
    max_attempts: int
    initial_delay: float
    max_delay: float
    timeout: float

    def delay_before(self, attempt: int) -> float:
        """Seconds to wait before an attempt, the second or a later one: half of them fixed, half of them random."""
        longest: float = min(self.initial_delay * 2 ** (attempt - 2), self.max_delay)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - it spreads the callers, it hides no secret

    def has_budget(self, attempt: int, elapsed: float) -> bool:
        """Whether that attempt may start, `elapsed` seconds after the first."""
        return attempt <= self.max_attempts and elapsed <= self.timeout

    def is_retryable(self, attempt: Attempt) -> bool:
        """Whether a call may be retried after such an attempt."""
        if attempt.permanent:
            return False
        if attempt.identity_error is not None and not attempt.identity_error.allow_retries:
            return False
        if attempt.answered_by is AnsweredBy.REFUSAL and attempt.status != _SERVICE_UNAVAILABLE:
            return False
        outcomes = {NO_RESPONSE} if attempt.status is None else {str(attempt.status), f"{attempt.status // 100}xx"}
        return not outcomes.isdisjoint(self.retry_on)


@dataclass(frozen=True)
class CallRecord:
    """A call that is done.

    Attributes:
        attempts: Its attempts, in order; at least one.
        response: The response of the last attempt, or None if none came.
        duration: Seconds from the start of the first attempt.
        may_write_more: Whether a function without our runtime may have answered, which may write its last messages now.
        claim: Who had claimed the session when the call was given up, or None if it was not.
    """

    attempts: tuple[Attempt, ...]
    response: requests.Response | None
    duration: float
    may_write_more: bool = False
    claim: Claim | None = None

    @property
    def last(self) -> Attempt:
        """The last attempt."""
        return self.attempts[-1]

    @property
    def may_have_started(self) -> bool:
        """Whether some attempt may have started the function, or may still do so, without an answer of its own."""
        return any(attempt.may_have_started for attempt in self.attempts)

    @property
    def is_plain_success(self) -> bool:
        """Whether a function without our runtime has answered 2xx, as far as anybody can know."""
        return is_plain_success(self.attempts)

    def own_response(self, session: SessionRecord) -> requests.Response | None:
        """Return the function's own response, or None if that was lost: what came may be a proxy's page."""
        plain = self.is_plain_success and not session.closes_with_request
        return self.response if self.last.answered_by is AnsweredBy.FUNCTION or plain else None

    @property
    def chunk_count(self) -> int | None:
        """How many chunks there are to read, or None if that is not known."""
        if self.last.answered_by is AnsweredBy.FUNCTION:
            return self.last.chunk_count
        never_ran = {AnsweredBy.NOT_SENT, AnsweredBy.REFUSAL}
        return 0 if all(attempt.answered_by in never_ran for attempt in self.attempts) else None


def is_plain_success(attempts: tuple[Attempt, ...]) -> bool:
    """Whether a function without our runtime has answered 2xx, as far as anybody can know.

    If an earlier attempt may have started the function, the 2xx may be a proxy's, and the function may still run.
    """
    return attempts[-1].is_platform_2xx and not any(attempt.may_have_started for attempt in attempts[:-1])


def next_step(attempts: tuple[Attempt, ...], session: SessionRecord, policy: RetryPolicy) -> NextStep:
    """Return what follows the last attempt, knowing what the messages have said so far. It neither reads nor waits."""
    last = attempts[-1]
    if last.answered_by is AnsweredBy.FUNCTION or session.failure:
        return NextStep.DONE
    if last.answered_by is AnsweredBy.DUPLICATE:
        return NextStep.WAIT_FOR_CLOSE
    if session.opened:
        return NextStep.WAIT_FOR_CLOSE if _may_still_run(attempts, session) else NextStep.DONE
    return NextStep.RETRY if policy.is_retryable(last) else NextStep.DONE


def _may_still_run(attempts: tuple[Attempt, ...], session: SessionRecord) -> bool:
    """Whether a function that has opened its session may still run, although the last attempt has ended.

    Our runtime says when a function has ended. A function without it answers itself, and what it answers looks like the
    platform's answer: then a proxy's status, or an earlier attempt that was lost, leaves it open.
    """
    if session.closes_with_request:
        return True
    last = attempts[-1]
    lost_earlier = any(attempt.may_have_started for attempt in attempts[:-1])
    return lost_earlier or last.status is None or last.status in _PLAIN_FUNCTION_MAY_RUN


class Caller:
    """Makes one call.

    Args:
        post: Makes one attempt.
        reader: Reads the messages of the session.
        policy: When to retry.
        call_timeout: Seconds after the start of an attempt in which the function ends, if only by its own timeout.
        drain_timeout: Seconds after the 2xx of a function without our runtime in which it may still open its session.
        claim_session: Claims the session before the call is given up, so that nothing starts afterwards.
        has_crashed: Whether the platform's log says that the function's instance was terminated. It is asked while a
            function gives no sign of life.
        log: Told of retries, and of a function whose response was lost.
    """

    def __init__(
        self,
        post: Post,
        reader: ReaderSession,
        policy: RetryPolicy,
        *,
        call_timeout: float,
        drain_timeout: float,
        claim_session: Callable[[], Claim],
        has_crashed: Callable[[], bool],
        log: Logger,
    ) -> None:
        self._post = post
        self._reader = reader
        self._policy = policy
        self._call_timeout = call_timeout
        self._drain_timeout = drain_timeout
        self._claim_session = claim_session
        self._has_crashed = has_crashed
        self._log = log
        self._attempts: tuple[Attempt, ...] = ()
        self._response: requests.Response | None = None
        self._started = self._first_started = time.monotonic()

    @property
    def deadline(self) -> float:
        """When the function has ended, if only by its own timeout (`time.monotonic`)."""
        return self._started + self._call_timeout

    def call(self) -> CallRecord:
        """Make the call, and wait for its end as long as there may be one."""
        step = self._attempt_until_done()
        claim = None
        if step is NextStep.DONE and self._may_start_later():
            claim = self._claim_session()
            if claim is Claim.FUNCTION:
                self._reader.wait_until(self._seen, self._call_timeout)
                step = NextStep.DONE if self._next_step() is NextStep.DONE else NextStep.WAIT_FOR_CLOSE
        if step is NextStep.WAIT_FOR_CLOSE and not self._reader.record.no_more_messages:
            self._wait_for_close()
        last = self._attempts[-1]
        answered_plainly = last.answered_by is AnsweredBy.PLATFORM and not (last.denied_access or last.redirected)
        return CallRecord(
            self._attempts,
            self._response,
            duration=self._elapsed,
            may_write_more=answered_plainly and step is NextStep.DONE and claim in {None, Claim.FUNCTION},
            claim=claim,
        )

    def _attempt_until_done(self) -> NextStep:
        """Attempt the call until nothing is to be retried.

        The pause before a retry is also the time in which `opened` may show that the function runs after all.
        """
        while True:
            self._attempt()
            number = len(self._attempts) + 1
            step = self._next_step()
            if step is not NextStep.RETRY or not self._policy.has_budget(number, self._elapsed):
                break
            self._reader.wait_until(self._seen, self._policy.delay_before(number))
            step = self._next_step()
            if step is not NextStep.RETRY:
                break
            self._log.warning(
                f"[pipes] attempt {number} of {self._policy.max_attempts}: attempt {number - 1} "
                f"{self._attempts[-1].summary}"
            )
        return NextStep.DONE if step is NextStep.RETRY else step

    def _next_step(self) -> NextStep:
        return next_step(self._attempts, self._reader.record, self._policy)

    def _seen(self) -> bool:
        record = self._reader.record
        return record.opened or record.failure is not None

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._first_started

    def _may_start_later(self) -> bool:
        """Whether a delivery of the call may start the function when nobody waits for it any more."""
        last = self._attempts[-1]
        sent = any(each.may_have_started or each.answered_by is AnsweredBy.REFUSAL for each in self._attempts)
        if self._reader.record.opened or last.answered_by is AnsweredBy.FUNCTION or not sent:
            return False
        if last.is_platform_2xx:
            self._reader.wait_until(self._seen, self._drain_timeout)
        return not self._reader.record.opened

    def _attempt(self) -> None:
        """Make one attempt, and wait for its response as long as the messages leave something to wait for."""
        self._started = time.monotonic()
        call = _in_thread(self._post)
        call.add_done_callback(lambda _: self._reader.wake())
        ended_early = self._wait_until(lambda: call.done() or self._reader.record.no_more_messages)
        if not call.done() and self._reader.record.failure is None and not ended_early:
            wait([call], RESPONSE_TIMEOUT)
        if call.done():
            attempt, self._response = call.result()
        else:
            attempt, self._response = Attempt(AnsweredBy.NOBODY, error=ended_early or self._why_abandoned()), None
        self._attempts += (attempt,)

    def _why_abandoned(self) -> str:
        if self._reader.record.failure:
            return "its messages cannot be read"
        return f"none came within {RESPONSE_TIMEOUT:g} s of `closed`"

    def _wait_until(self, reached: Callable[[], bool]) -> str:
        """Wait until something is reached; or return why there is nothing to wait for any more."""
        while not self._reader.wait_until(reached, min(SLICE, max(0.0, self.deadline - time.monotonic()))):
            if time.monotonic() >= self.deadline:
                return f"not within {self._call_timeout:g} s"
            if self._reader.misses_heartbeats and self._has_crashed():
                return "its instance was terminated"
        return ""

    def _wait_for_close(self) -> None:
        remaining = self.deadline - time.monotonic()
        self._log.warning(
            f"[pipes] the call {self._attempts[-1].summary}, but the function may be running: reading its messages "
            f"until it closes its session, for at most {remaining:.0f} s"
        )
        self._wait_until(lambda: self._has_ended() or self._reader.give_up_if_silent())

    def _has_ended(self) -> bool:
        record = self._reader.record
        return record.closed or record.failure is not None


def _in_thread(post: Post) -> "Future[tuple[Attempt, requests.Response | None]]":
    """Make an attempt in a daemon thread, which ends with the response or its timeout if nobody waits for it any more.

    The thread has a copy of the context, so that a trace which is current here is current there.
    """
    future: Future[tuple[Attempt, requests.Response | None]] = Future()

    def make() -> None:
        try:
            future.set_result(post())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            future.set_exception(error)

    Thread(target=copy_context().run, args=(make,), name="pipes call", daemon=True).start()
    return future
