"""The task `sleep`: what the function does while the user's code is silent, and what stops it."""

import time
from itertools import pairwise
from typing import Any, Final

from gcf_pipes._shared.protocol import SHARED_CANCEL, SHARED_PREFIX_PARAM, TIMEOUT_HEADER, SessionPrefix

from dagster_gcf_pipes._conformance.calls import Caller, dumps, in_background
from dagster_gcf_pipes._conformance.findings import Checks, NotThereError, SkippedError, expect
from dagster_gcf_pipes._conformance.sessions import Session

SILENT_INTERVALS: Final = 2.5
TOLERATED_INTERVALS: Final = 2
"""Intervals without a chunk. Dagster gives a function up after three."""
TOLERATED_SECONDS: Final = 1
"""Seconds in addition, for the upload."""
LONGEST_SLEEP: Final = 120
"""Seconds after which a heartbeat is not waited for any more."""
CLAIM_SHARE: Final = 0.5
"""The part of the sleep that must lie between the claim and the last chunk."""
SUCCESS: Final = range(200, 300)
MARKER: Final = b"{}"


def stay_silent(caller: Caller) -> Checks:
    """Let the user's code sleep for longer than the interval that the function announces."""
    interval = caller.heartbeat_interval
    seconds = SILENT_INTERVALS * (interval or 0) + TOLERATED_SECONDS + 1
    if seconds > LONGEST_SLEEP:
        seconds = TOLERATED_SECONDS + 1
    delivery = caller.prepare("sleep", event={"seconds": seconds})
    session = caller.read(delivery.prefix, caller.deliver(delivery, seconds=seconds))
    return {
        "claim-first": lambda: _check_claim_first(session, seconds),
        "heartbeats": lambda: _check_heartbeats(session, interval, seconds),
    }


def _check_claim_first(session: Session, seconds: float) -> str:
    first = next((number for number, message in session.numbered_messages if message["method"] == "opened"), None)
    expect(first == 1, "`opened` in chunk 1", f"it in chunk {first}" if first else "none", session.uri)
    last = max(session.created)
    slept = (session.created[last] - session.created[1]).total_seconds()
    expected = f"at least {seconds * CLAIM_SHARE:.1f} s from chunk 1 to the last one, as the code sleeps {seconds:g} s"
    expect(slept >= seconds * CLAIM_SHARE, expected, f"{slept:.1f} s", session.uri)
    return "chunk 1 was there while the code slept"


def _check_heartbeats(session: Session, interval: float | None, seconds: float) -> str:
    if interval is None:
        raise NotThereError("`heartbeat_interval` is not in `opened`: Dagster never gives up a function that died")
    if seconds < interval:
        raise SkippedError(f"the interval of {interval:g} s is too long to wait for")
    times = [at for _, at in sorted(session.created.items())]
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    longest, most = max(pauses, default=seconds), TOLERATED_INTERVALS * interval + TOLERATED_SECONDS
    expected = f"a chunk each {interval:g} s, and none later than {most:g} s after the one before"
    expect(longest <= most, expected, f"a pause of {longest:.1f} s", session.uri)
    return f"the longest pause was {longest:.1f} s of {interval:g} s"


def cancel(caller: Caller) -> Checks:
    """Create the cancel marker of a session while the user's code sleeps."""
    session, seconds = _cancelled(caller, caller.new_prefix("sleep"), {}, None)
    return {"cancel": lambda: _check_stopped(session, seconds, caller.stop_within)}


def cancel_many(caller: Caller) -> Checks:
    """Create the cancel marker of many sessions while the user's code sleeps."""
    if SHARED_CANCEL not in caller.capabilities:
        return {"shared-cancel": lambda: _not_announced(SHARED_CANCEL)}
    shared = caller.new_prefix("many")
    prefix = SessionPrefix(shared.bucket, f"{shared.path}/0000001")
    session, seconds = _cancelled(caller, prefix, {SHARED_PREFIX_PARAM: shared.path}, shared)
    return {"shared-cancel": lambda: _check_stopped(session, seconds, caller.stop_within)}


def _not_announced(capability: str) -> str:
    raise NotThereError(f"the function does not announce `{capability}`")


def _cancelled(
    caller: Caller, prefix: SessionPrefix, messages: dict[str, Any], shared: SessionPrefix | None
) -> tuple[Session, float]:
    """Return the session, and the seconds from the marker to the response."""
    asleep = 1.5 * caller.stop_within
    delivery = caller.prepare("sleep", prefix=prefix, event={"seconds": asleep}, messages=messages)
    answer = in_background(lambda: caller.deliver(delivery, seconds=asleep))
    claimed = caller.wait_for_claim(prefix, answer)
    caller.create((shared or prefix).cancel_key, MARKER)
    marked = time.monotonic()
    session = caller.read(prefix, answer.result())
    return session, time.monotonic() - marked if claimed else 0.0


def _check_stopped(session: Session, seconds: float, within: float) -> str:
    expect(session.chunks, "chunk 1, and then the marker", session.answer.description, session.uri)
    expected = f"the response within {within:g} s after the marker"
    expect(seconds <= within and session.answer.status, expected, f"it after {seconds:.1f} s", session.uri)
    _check_ended_with_exception(session)
    return f"it stopped after {seconds:.1f} s"


def _check_ended_with_exception(session: Session) -> None:
    params = session.closed_params
    expect(session.exception, "`closed` with an exception", dumps(params), session.uri)
    expect(session.answer.status not in SUCCESS, "a status that is not 2xx", session.answer.description, session.uri)


def run_out_of_time(caller: Caller) -> Checks:
    """Let the user's code sleep for longer than the call may take."""
    deadline = max(1, round(caller.stop_within / 2))
    asleep = 2 * deadline
    delivery = caller.prepare("sleep", event={"seconds": asleep}, headers={TIMEOUT_HEADER: str(deadline)})
    session = caller.read(delivery.prefix, caller.deliver(delivery, seconds=asleep))

    def check() -> str:
        if session.answer.seconds >= asleep and session.answer.is_from_function:
            raise NotThereError("the function sleeps on: it stops only when the platform stops it")
        expected, got = f"a response within {deadline} s", f"one after {session.answer.seconds:.1f} s"
        expect(session.answer.seconds <= deadline and session.answer.status, expected, got, session.uri)
        _check_ended_with_exception(session)
        return f"it stopped after {session.answer.seconds:.1f} s of {deadline} s"

    return {"deadline": check}
