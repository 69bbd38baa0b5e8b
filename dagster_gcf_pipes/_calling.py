"""Calls a function until its run has an outcome."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import replace
from itertools import count
from logging import Logger
from threading import Thread
from typing import Final

from dagster_gcf_pipes._http import FunctionCall
from dagster_gcf_pipes._reader_session import ReaderSession
from dagster_gcf_pipes._retry import NextStep, RetryPolicy, next_step
from dagster_gcf_pipes._verdict import CallRecord

RESPONSE_TIMEOUT: Final = 30.0
"""Seconds to wait for the response of a function that has closed its session: it comes at once, or the link is dead."""


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
        call = _attempt(call_once, reader)
        step = next_step(call.record, policy, opened=reader.record.opened)
        if step is not NextStep.RETRY or not policy.allows(attempt + 1, time.monotonic() - first_started):
            break
        delay = policy.delay_before(attempt + 1)
        log.warning(
            f"[pipes] attempt {attempt + 1} of {policy.max_attempts} in {delay:.1f} s: the call {call.record.summary}"
        )
        step = next_step(call.record, policy, opened=reader.wait_for_opened(delay))
        if step is not NextStep.RETRY or reader.failed:
            break
    if step is NextStep.FOLLOW and not reader.over:
        _follow(call, reader, timeout=started + run_timeout - time.monotonic(), log=log)
    return replace(call, attempts=attempt, duration=time.monotonic() - first_started)


def _attempt(call_once: Callable[[], FunctionCall], reader: ReaderSession) -> FunctionCall:
    """Make one attempt, and wait for its response as long as the messages leave something to wait for."""
    started = time.monotonic()
    call = _in_thread(call_once)
    call.add_done_callback(lambda _: reader.wake())
    reader.wait_until(lambda: call.done() or reader.over)
    if not call.done() and not reader.failed:
        wait([call], RESPONSE_TIMEOUT)
    if call.done():
        return call.result()
    lost = "its messages cannot be read" if reader.failed else f"{RESPONSE_TIMEOUT:g} s after it closed its session"
    return FunctionCall(CallRecord(lost=lost), None, time.monotonic() - started)


def _in_thread(call_once: Callable[[], FunctionCall]) -> "Future[FunctionCall]":
    """Make an attempt in a daemon thread, which ends with the response or its timeout if nobody waits for it any more.

    The thread has a copy of the context, so that a trace which is current here is current there.
    """
    future: Future[FunctionCall] = Future()

    def make() -> None:
        try:
            future.set_result(call_once())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            future.set_exception(error)

    Thread(target=copy_context().run, args=(make,), name="pipes call", daemon=True).start()
    return future


def _follow(call: FunctionCall, reader: ReaderSession, *, timeout: float, log: Logger) -> None:
    log.warning(
        f"[pipes] the call {call.record.summary}, but the function is running: reading its messages until it closes "
        f"its session, for at most {timeout:.0f} s"
    )
    reader.wait_for_closed(timeout)
