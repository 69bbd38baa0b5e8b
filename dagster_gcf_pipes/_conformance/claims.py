"""Deliveries of one call, several of which may arrive: one runs."""

import json
from collections.abc import Sequence
from typing import Final

from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD
from gcf_pipes._shared.protocol import HEARTBEAT

from dagster_gcf_pipes._conformance.calls import Caller, in_background
from dagster_gcf_pipes._conformance.findings import Check, Checks, SkippedError, expect
from dagster_gcf_pipes._conformance.sessions import Answer, Session

DELIVERIES: Final = 3
OVERLAP: Final = 1
"""Seconds that the code runs, so that the deliveries overlap."""
CODE_SECONDS: Final = 5
"""Seconds that the code would take which must not run."""
CONFLICT: Final = 409
SUCCESS: Final = range(200, 300)
_FOREIGN: Final = {
    PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION,
    "method": "log",
    "params": {"message": "conformance: of another writer", "level": "INFO"},
}
_SKIPPED: Final = (
    "the emulator creates an object twice, whatever the precondition. Use fake-gcs-server, which honours it"
)


def deliver_at_once(caller: Caller) -> Checks:
    """Deliver one call several times at the same time."""
    delivery = caller.prepare("sleep", event={"seconds": OVERLAP})
    futures = [in_background(lambda: caller.deliver(delivery, seconds=OVERLAP)) for _ in range(DELIVERIES)]
    answers = [future.result() for future in futures]
    ran = [answer for answer in answers if not answer.is_duplicate]
    session = caller.look(delivery.prefix, (ran or answers)[0])
    return {"claim-once": _needs_preconditions(caller, lambda: _check_once(session, answers))}


def _check_once(session: Session, answers: Sequence[Answer]) -> str:
    ran = [answer for answer in answers if not answer.is_duplicate]
    expect(
        len(ran) == 1,
        f"{DELIVERIES - 1} of {DELIVERIES} deliveries to get 409 with `duplicate_call`",
        "; ".join(answer.description for answer in answers),
        session.uri,
    )
    for answer in answers:
        if answer.is_duplicate:
            _check_duplicate(answer)
    slept = session.logged.count("conformance: slept")
    expect(slept == 1, "one line of one execution", f"{slept} lines", session.uri)
    return f"of {DELIVERIES} deliveries, one ran"


def _check_duplicate(answer: Answer) -> None:
    expect(answer.status == CONFLICT and answer.is_duplicate, "409 with `duplicate_call`", answer.description)


def deliver_late(caller: Caller) -> Checks:
    """Deliver a call again after its end."""
    delivery = caller.prepare("report")
    first = caller.look(delivery.prefix, caller.deliver(delivery))
    answer = caller.deliver(delivery)
    second = caller.look(delivery.prefix, answer)

    def check() -> str:
        expect(first.chunks, "the first delivery to write chunks", "none", first.uri)
        _check_duplicate(answer)
        same = (first.chunks, first.created) == (second.chunks, second.created)
        expect(same, "the chunks of the first delivery", "others", second.uri)
        return "nothing changed"

    return {"claim-late": _needs_preconditions(caller, check)}


def deliver_claimed(caller: Caller) -> Checks:
    """Deliver a call whose session Dagster has claimed."""
    delivery = caller.prepare("sleep", event={"seconds": CODE_SECONDS})
    caller.create(delivery.prefix.chunk_key(1), HEARTBEAT)
    answer = caller.deliver(delivery, seconds=CODE_SECONDS)
    session = caller.look(delivery.prefix, answer)

    def check() -> str:
        _check_duplicate(answer)
        expect(
            session.chunks == {1: HEARTBEAT}, "Dagster's heartbeat alone", f"{len(session.chunks)} chunks", session.uri
        )
        expect(
            answer.seconds < CODE_SECONDS,
            f"the refusal before the {CODE_SECONDS} s of the user's code",
            f"it after {answer.seconds:.1f} s",
        )
        return "nothing ran"

    return {"claim-taken": _needs_preconditions(caller, check)}


def deliver_with_foreign_chunk(caller: Caller) -> Checks:
    """Deliver a call whose second chunk is there already, as if another writer had the session."""
    delivery = caller.prepare("report")
    key, foreign = delivery.prefix.chunk_key(2), f"{json.dumps(_FOREIGN)}\n".encode()
    caller.create(key, foreign)
    answer = caller.deliver(delivery)
    session = caller.look(delivery.prefix, answer)
    found, uri = session.chunks.get(2), session.chunk_uri(2)

    def check_once() -> str:
        expect(1 in session.chunks, "chunk 1", answer.description, session.uri)
        expect(found == foreign, "the chunk that was there", "another one", uri)
        return "a chunk that was there stayed"

    def check_lost() -> str:
        if found != foreign:
            raise SkippedError("it needs `chunk-once`, which the function does not meet")
        expect(answer.status not in SUCCESS, "no 2xx, as a chunk is not stored", answer.description, uri)
        return f"HTTP {answer.status}"

    return {
        "chunk-once": _needs_preconditions(caller, check_once),
        "chunk-lost": _needs_preconditions(caller, check_lost),
    }


def _needs_preconditions(caller: Caller, check: Check) -> Check:
    def checked() -> str:
        if not caller.has_preconditions:
            raise SkippedError(_SKIPPED)
        return check()

    return checked
