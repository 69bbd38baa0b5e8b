"""Calls a function until its run has an outcome."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from logging import Logger

from dagster_gcf_pipes._http import FunctionCall
from dagster_gcf_pipes._reader_session import ReaderSession
from dagster_gcf_pipes._retry import NextStep, RetryPolicy, next_step


def call_until_done(
    call_once: Callable[[], FunctionCall],
    reader: ReaderSession,
    policy: RetryPolicy,
    *,
    run_timeout: float,
    log: Logger,
) -> FunctionCall:
    """Attempt a call until one has an outcome, and follow a run whose call was lost to its end.

    The pause before another attempt is also the time in which `opened` may show that the function is running after all.

    Args:
        call_once: Makes one attempt.
        reader: Reads the messages of the session.
        policy: How often to attempt, and how long to wait before another attempt.
        run_timeout: Seconds after the start of an attempt in which the function's run ends, if only by its own timeout.
        log: Told of another attempt, and of a run that is followed.

    Returns:
        The last attempt, with the number of attempts.
    """
    first_started = time.monotonic()
    for attempt in count(1):
        started = time.monotonic()
        call = call_once()
        step = next_step(call.record, opened=reader.record.opened)
        if step is not NextStep.RETRY or not policy.allows(attempt + 1, time.monotonic() - first_started):
            break
        delay = policy.delay_before(attempt + 1)
        log.warning(
            f"[pipes] attempt {attempt + 1} of {policy.max_attempts} in {delay:.1f} s: the call {call.record.summary}"
        )
        step = next_step(call.record, opened=reader.wait_for_opened(delay))
        if step is not NextStep.RETRY:
            break
    if step is NextStep.FOLLOW:
        _follow(call, reader, timeout=started + run_timeout - time.monotonic(), log=log)
    return replace(call, attempts=attempt, duration=time.monotonic() - first_started)


def _follow(call: FunctionCall, reader: ReaderSession, *, timeout: float, log: Logger) -> None:
    log.warning(
        f"[pipes] the call {call.record.summary}, but the function is running: reading its messages until it closes "
        f"its session, for at most {timeout:.0f} s"
    )
    reader.wait_for_closed(timeout)
