"""Makes a call: attempts, retries, and the wait for `closed` if the connection to a running function broke.

A retry posts the same body for the same session. That is safe if the function claims its session, as `gcf_pipes` does:
however often the call is delivered, the user's code runs at most once.
"""

import math
import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from enum import Enum, auto
from threading import Thread
from typing import Final, TypeAlias

import requests

from dagster_gcf_pipes._http import AnsweredBy, Attempt
from dagster_gcf_pipes._keyed_log import Log
from dagster_gcf_pipes._messages.cancel_marker import Claim
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._messages.session_reader import SessionReader
from dagster_gcf_pipes._steps import Steps, Wait

NO_RESPONSE: Final = "no_response"
DEFAULT_RETRY_ON: Final = ("429", "5xx", NO_RESPONSE)
"""No instance took the request (429, also 500 or 503), or the connection broke before a session was opened.

Source: https://cloud.google.com/run/docs/troubleshooting ("The request was aborted because there was no available
instance").
"""
RESPONSE_TIMEOUT: Final = 90.0
"""Seconds to wait for the response of a function that has closed its session. A large response over a slow line takes
long. Without a response the call still succeeds, but has no `response`."""
CHECK_INTERVAL: Final = 0.25
"""Seconds between two checks of the deadline and of the signs of life."""
_PLAIN_FUNCTION_MAY_RUN: Final = frozenset({502, 503, 504})
_SERVICE_UNAVAILABLE: Final = 503

Posted: TypeAlias = tuple[Attempt, requests.Response | None]
Post: TypeAlias = Callable[[], Posted]


class NextStep(Enum):
    """What follows an attempt."""

    DONE = auto()
    RETRY = auto()
    WAIT_FOR_CLOSE = auto()


@dataclass(frozen=True)
class RetryPolicy:
    """When to retry a call, how often, and how long to wait.

    Attributes:
        retry_on: HTTP statuses such as "429", classes of them such as "5xx", and "no_response".
        max_attempts: How many attempts to make in all; 1 means no retry.
        initial_delay: Seconds before the second attempt; each further delay is twice as long.
        max_delay: The longest delay, in seconds.
        timeout: Seconds from the start of the first attempt in which a retry may start.
        only_unsent: Whether to retry only what has not reached the function: nothing claims the session, so that a
            retry might run its code twice.
    """

    retry_on: frozenset[str]
    max_attempts: int
    initial_delay: float
    max_delay: float
    timeout: float
    only_unsent: bool = False

    def delay_before(self, attempt: int) -> float:
        """Seconds to wait before the second or a later attempt. Half of the delay is random."""
        longest: float = min(self.initial_delay * 2 ** (attempt - 2), self.max_delay)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - it spreads callers, and is not a secret

    def has_budget(self, attempt: int, elapsed: float) -> bool:
        """Whether that attempt may start, `elapsed` seconds after the first."""
        return attempt <= self.max_attempts and elapsed <= self.timeout

    def is_retryable(self, attempt: Attempt) -> bool:
        """Whether the policy allows a retry after such an attempt."""
        if not attempt.retryable or attempt.lacked_id_token:
            return False
        if attempt.identity_error is not None and not attempt.identity_error.allow_retries:
            return False
        if attempt.answered_by is AnsweredBy.REFUSAL and attempt.status != _SERVICE_UNAVAILABLE:
            return False
        if self.only_unsent and attempt.answered_by not in {AnsweredBy.NOT_SENT, AnsweredBy.REFUSAL}:
            return False
        outcomes = {NO_RESPONSE} if attempt.status is None else {str(attempt.status), f"{attempt.status // 100}xx"}
        return not outcomes.isdisjoint(self.retry_on)


@dataclass(frozen=True)
class CallRecord:
    """What is known of a call when its last attempt is done.

    Attributes:
        attempts: The attempts, in order; at least one.
        response: The response to the last attempt, or None.
        duration: Seconds from the start of the first attempt.
        may_write_more: Whether a function without our runtime may have responded. It may still write its last messages.
        claim: If the caller gave the call up: who had claimed the session. Otherwise None.
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
        """Whether some attempt may have started the function, or may still start it, without a response of its own."""
        return any(attempt.may_have_started for attempt in self.attempts)

    @property
    def is_plain_success(self) -> bool:
        """Whether a function without our runtime has returned 2xx, as far as anybody can know."""
        return is_plain_success(self.attempts)

    def own_response(self, session: SessionRecord) -> requests.Response | None:
        """Return the function's own response, or None: the last response may be a proxy's page."""
        plain = self.is_plain_success and not session.closes_with_request
        return self.response if self.last.answered_by is AnsweredBy.FUNCTION or plain else None

    @property
    def chunk_count(self) -> int | None:
        """How many chunks the function wrote, or None if that is not known."""
        if self.last.answered_by is AnsweredBy.FUNCTION:
            return self.last.chunk_count
        never_ran = {AnsweredBy.NOT_SENT, AnsweredBy.REFUSAL}
        return 0 if all(attempt.answered_by in never_ran for attempt in self.attempts) else None


def is_plain_success(attempts: tuple[Attempt, ...]) -> bool:
    """Whether a function without our runtime has returned 2xx, as far as anybody can know.

    After an attempt that may have started the function, a 2xx may be a proxy's, and the function may still run.
    """
    return attempts[-1].is_platform_2xx and not any(attempt.may_have_started for attempt in attempts[:-1])


def next_step(attempts: tuple[Attempt, ...], session: SessionRecord, policy: RetryPolicy) -> NextStep:
    """Return what follows the last attempt, given what the messages have said so far. It neither reads nor waits."""
    last = attempts[-1]
    if last.answered_by is AnsweredBy.FUNCTION or session.failure:
        return NextStep.DONE
    if last.answered_by is AnsweredBy.DUPLICATE:
        return NextStep.WAIT_FOR_CLOSE
    if session.opened:
        return NextStep.WAIT_FOR_CLOSE if _may_still_run(attempts, session) else NextStep.DONE
    return NextStep.RETRY if policy.is_retryable(last) else NextStep.DONE


def _may_still_run(attempts: tuple[Attempt, ...], session: SessionRecord) -> bool:
    """Whether a function that has opened its session may still run although the last attempt is done.

    With our runtime, only `closed` says that it has stopped. Without it, a function's response looks like the
    platform's: then nobody knows after a proxy's status, or after an earlier attempt without a response.
    """
    if session.closes_with_request:
        return True
    last = attempts[-1]
    unanswered_earlier = any(attempt.may_have_started for attempt in attempts[:-1])
    return unanswered_earlier or last.status is None or last.status in _PLAIN_FUNCTION_MAY_RUN


@dataclass
class _AttemptState:
    """How far an attempt is.

    Attributes:
        is_queued: Whether it waits to be made, the first time or because the platform had no instance.
        posted: What the attempt met when it was last made.
    """

    is_queued: bool = True
    posted: Posted | None = None


class Caller:
    """Makes one call.

    Args:
        post: Makes one attempt.
        start: Starts an attempt in another thread. As soon as it is done, it lets the steps be taken again.
        reader: Reads the messages of the session.
        policy: When to retry.
        call_timeout: Seconds from the start of an attempt until the function's own timeout has stopped it for sure.
        drain_timeout: Seconds after the 2xx of a function without our runtime in which it may still open its session.
        claim_session: Claims the session before the caller gives a call up, so that nothing starts afterwards.
        has_crashed: Returns whether the platform's log says that it terminated the function's instance. The caller asks
            while the function shows no sign of life.
        log: Gets a line for each retry, and one if the caller waits for `closed`.
    """

    def __init__(
        self,
        post: Post,
        start: "Callable[[Post], Future[Posted]]",
        reader: SessionReader,
        policy: RetryPolicy,
        *,
        call_timeout: float,
        drain_timeout: float,
        claim_session: Callable[[], Claim],
        has_crashed: Callable[[], bool],
        log: Log,
    ) -> None:
        self._post = post
        self._start = start
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
        self._state = _AttemptState(is_queued=False)

    @property
    def deadline(self) -> float:
        """When the function's own timeout has stopped it for sure (`time.monotonic`)."""
        return self._started + self._call_timeout

    def call(self) -> Steps[CallRecord]:
        """Make the call, and wait as long as the function may run."""
        step = yield from self._attempt_with_retries()
        claim = None
        if step is NextStep.DONE and (yield from self._may_start_later()):
            claim = self._claim_session()
        if claim is Claim.FUNCTION:  # a delivery has just started the function
            yield Wait(self._opened_or_failed, self._call_timeout)
            step = NextStep.DONE if self._next_step() is NextStep.DONE else NextStep.WAIT_FOR_CLOSE
        if step is NextStep.WAIT_FOR_CLOSE and not (self._reader.record.done or self._reader.ended):
            yield from self._wait_for_close()
        last = self._attempts[-1]
        responded_plainly = last.answered_by is AnsweredBy.PLATFORM and not (last.denied_access or last.redirected)
        return CallRecord(
            self._attempts,
            self._response,
            duration=self._elapsed,
            may_write_more=responded_plainly and step is NextStep.DONE and claim in {None, Claim.FUNCTION},
            claim=claim,
        )

    def follow(self) -> Steps[CallRecord]:
        """Wait for the end of a function that an earlier attempt of the step has called."""
        self._attempts = (Attempt(AnsweredBy.NOBODY, error="the step that made the call has ended"),)
        yield from self._wait_until(lambda: self._closed_or_failed() or self._reader.give_up_if_silent())
        return CallRecord(self._attempts, None, duration=self._elapsed)

    def _attempt_with_retries(self) -> Steps[NextStep]:
        """Attempt the call until the policy allows no retry.

        During the pause before a retry, `opened` may show that the function runs after all.
        """
        while True:
            yield from self._attempt()
            number = len(self._attempts) + 1
            yield from self._wait_for_late_opening()
            step = self._next_step()
            if step is not NextStep.RETRY or not self._policy.has_budget(number, self._elapsed):
                break
            yield Wait(self._opened_or_failed, self._policy.delay_before(number))
            step = self._next_step()
            if step is not NextStep.RETRY:
                break
            self._log.warning(
                f"[pipes] attempt {number} of {self._policy.max_attempts}: attempt {number - 1} "
                f"{self._attempts[-1].summary}"
            )
        return NextStep.DONE if step is NextStep.RETRY else step

    def _wait_for_late_opening(self) -> Steps[None]:
        """Wait for `opened` if the last attempt may have started the function, and messages arrive late."""
        if self._attempts[-1].may_have_started and self._reader.opening_delay:
            yield Wait(self._opened_or_failed, self._reader.opening_delay)

    def _next_step(self) -> NextStep:
        return next_step(self._attempts, self._reader.record, self._policy)

    def _opened_or_failed(self) -> bool:
        record = self._reader.record
        return record.opened or record.failure is not None

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._first_started

    def _may_start_later(self) -> Steps[bool]:
        """Whether a late delivery of the call may start the function when nobody waits for it any more."""
        last = self._attempts[-1]
        sent = any(each.may_have_started or each.answered_by is AnsweredBy.REFUSAL for each in self._attempts)
        if self._reader.record.opened or last.answered_by is AnsweredBy.FUNCTION or not sent:
            return False
        if last.is_platform_2xx:
            yield Wait(self._opened_or_failed, self._drain_timeout)
        return not self._reader.record.opened

    def _attempt(self) -> Steps[None]:
        """Make one attempt, and wait for its response until the messages say that it makes no difference."""
        state = self._state = _AttemptState()
        call = self._start(lambda: self._timed_post(state))
        abandoned = yield from self._wait_until(lambda: call.done() or self._reader.record.done or self._is_needless)
        if not (call.done() or self._reader.record.failure or abandoned or self._is_needless):
            yield Wait(call.done, RESPONSE_TIMEOUT)
        if call.done():
            state.posted = call.result()
        else:
            call.cancel()  # it may not have been made
        none = Attempt(AnsweredBy.NOBODY, error=abandoned or self._why_abandoned()), None
        attempt, self._response = state.posted or none
        self._attempts += (attempt,)
        self._state = _AttemptState(is_queued=False)

    def _timed_post(self, state: _AttemptState) -> Posted:
        self._started = time.monotonic()
        if not self._attempts:
            self._first_started = self._started
        state.is_queued, state.posted = False, None
        state.posted = self._post()
        state.is_queued = True  # whoever makes the attempts may make it again
        return state.posted

    @property
    def _is_needless(self) -> bool:
        """Whether the attempt waits to be made, and the function runs already: it could only be a duplicate."""
        return self._state.is_queued and self._reader.record.opened

    def _why_abandoned(self) -> str:
        if self._reader.record.failure:
            return "its messages cannot be read"
        if self._is_needless:
            return "the function had started before"
        return f"none arrived within {RESPONSE_TIMEOUT:g} s of `closed`"

    def _wait_until(self, reached: Callable[[], bool]) -> Steps[str]:
        """Wait until a condition holds, and return an empty text; or return why the caller gave up."""
        while not (yield Wait(reached, self._check_interval)):
            if time.monotonic() >= self.deadline and not self._state.is_queued:
                return f"not within {self._call_timeout:g} s"
            if self._reader.is_over_with_response and self._reader.give_up_if_silent():
                return "no further line"
            if self._reader.misses_heartbeats and self._has_crashed():
                return "its instance was terminated"
        return ""

    @property
    def _check_interval(self) -> float:
        left = math.inf if self._state.is_queued else max(0.0, self.deadline - time.monotonic())
        return min(CHECK_INTERVAL, left)

    def _wait_for_close(self) -> Steps[None]:
        remaining = self.deadline - time.monotonic()
        self._log.warning(
            f"[pipes] the call {self._attempts[-1].summary}, but the function may still run: reading its messages "
            f"until it closes its session, for at most {remaining:.0f} s"
        )
        yield from self._wait_until(lambda: self._closed_or_failed() or self._reader.give_up_if_silent())

    def _closed_or_failed(self) -> bool:
        record = self._reader.record
        return record.closed or record.failure is not None


def start_in_thread(post: Post, on_done: Callable[[], None]) -> "Future[Posted]":
    """Make an attempt in a daemon thread. If nobody waits for it any more, the response or its timeout ends the thread.

    The thread has a copy of the context, so the current trace is the same there.

    Args:
        post: Makes the attempt.
        on_done: Called when it is done.
    """
    future: Future[Posted] = Future()
    future.add_done_callback(lambda _: on_done())
    Thread(target=copy_context().run, args=(resolve, future, post), name="pipes call", daemon=True).start()
    return future


def resolve(future: "Future[Posted]", post: Post) -> None:
    """Make an attempt, and keep what came of it."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(post())
    except BaseException as error:  # noqa: BLE001 - the waiting thread raises it again
        future.set_exception(error)
