"""Every fault at every place, and the outcome that it must have.

The function writes `opened`, four lines and `closed`, each as a chunk of its own.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final

from tests.faults.plan import (
    CALL,
    DELETE,
    EVERY,
    INSTANCE_DIED,
    NO_INSTANCE_429,
    NO_INSTANCE_500,
    NOT_INVOKER,
    PLATFORM_TIMEOUT,
    READ,
    STORAGE_RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    UNAUTHENTICATED,
    UPLOAD,
    Action,
    Delay,
    DeliverLate,
    Duplicate,
    Fault,
    Match,
    ResetAfter,
    ResetBefore,
    Stall,
    Status,
    StatusAfter,
    StatusOfEach,
    Truncate,
    Unavailable,
    after,
    platform_error,
    storage_error,
    storage_forbidden,
)
from tests.faults.stack import Link

LINES: Final = [f"line {number}" for number in range(4)]
FIRST_CHUNK: Final = 1
MIDDLE_CHUNK: Final = 3
LAST_CHUNK: Final = 6
PLACES: Final = {"opened": FIRST_CHUNK, "first line": 2, "a middle line": MIDDLE_CHUNK, "closed": LAST_CHUNK}
RUN_BOUND: Final = 60.0
"""Seconds in which every run must end."""


@dataclass(frozen=True)
class Case:
    """Some faults, where they are injected, and the outcome that they must have.

    Attributes:
        link: The proxy that injects the faults.
        faults: The faults.
        status: The HTTP status that the function itself returns.
        error: A text that the step's error must have, or None if the run must succeed.
        lines: How many of the function's lines must be shown.
        executions: How often the user's code must run until all deliveries of the call have been answered.
        late_executions: How often it must run when the call is delivered again after the verdict. Only a call that the
            platform has rejected leaves its session open, because none of its deliveries can still arrive.
        kept: How many objects must be left after a success: the claim.
    """

    link: Link
    faults: tuple[Fault, ...]
    status: int = 200
    error: str | None = None
    lines: int = len(LINES)
    executions: int = 1
    late_executions: int = 0
    kept: int = 1


TRANSIENT_STORAGE: dict[str, Action] = {
    "503": STORAGE_UNAVAILABLE,
    "429": STORAGE_RATE_LIMITED,
    "500": storage_error(500, "internalError", "Internal error."),
    "reset before": ResetBefore(),
    "reset after": ResetAfter(),
    "503 although processed": StatusAfter(503),
    "a stall": Stall(0.3),
    "a delay": Delay(0.3),
    "an unavailable bucket": Unavailable(0.6),
}

CALL_NOT_PROCESSED: dict[str, Action] = {
    "429, no instance": NO_INSTANCE_429,
    "500, no instance": NO_INSTANCE_500,
    "503, the instance died": INSTANCE_DIED,
    "504": PLATFORM_TIMEOUT,
    "reset before": ResetBefore(),
    "a stall": Stall(0.3),
    "a delay": Delay(0.3),
    "an unavailable function": Unavailable(0.3),
}

CALL_PROCESSED: dict[str, Action] = {
    "502 although processed": StatusAfter(502),
    "503 although processed": StatusAfter(503),
    "504 although processed": StatusAfter(504),
    "reset after": ResetAfter(),
    "a stall although processed": Stall(0.3, processed=True),
    "a truncated response": Truncate(5),
    "delivered twice": Duplicate(),
    "delivered twice, the second answer": Duplicate(answer="second"),
    "delivered twice at once": Duplicate(concurrently=True),
    "delivered twice at once, the second answer": Duplicate(concurrently=True, answer="second"),
}


def chunk(match: Match, number: int) -> Match:
    return match.of(rf"/{number}\.json$")


LOST_ATTEMPTS: dict[str, Action] = {
    "reset, and started later": DeliverLate(0.6),
    "reset, and started after the last attempt": DeliverLate(3600),
    "503, and started later": DeliverLate(0.6, INSTANCE_DIED),
    "503, and started after the last attempt": DeliverLate(3600, INSTANCE_DIED),
    "reset after": ResetAfter(),
    "504 although processed": StatusAfter(504),
}
"""The first of several attempts."""

LATER_ANSWERS: dict[str, Status] = {
    "429, no instance": NO_INSTANCE_429,
    "500, no instance": NO_INSTANCE_500,
    "503": INSTANCE_DIED,
    "403": NOT_INVOKER,
    "404": platform_error(404, "Page not found"),
}
"""The answer to later attempts while the first has the only instance."""

OWN_STATUSES: Final = (302, 400, 401, 403, 404, 409, 418, 429, 500, 501, 502, 503, 504)


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    return {**storage_cases(), **call_cases(), **cases_of_two_attempts(), **cases_of_own_statuses(), **cleanup_cases()}


def storage_cases() -> dict[str, Case]:
    """Return the faults between the bucket and each side."""
    found: dict[str, Case] = {}
    for place, number in PLACES.items():
        for name, action in TRANSIENT_STORAGE.items():
            found[f"upload of {place}: {name}"] = Case("writer", (Fault(chunk(UPLOAD, number), action),))
            found[f"read of {place}: {name}"] = Case("reader", (Fault(chunk(READ, number), action),))
        found[f"upload of {place}: a truncated answer"] = Case("writer", (Fault(chunk(UPLOAD, number), Truncate(5)),))
        found[f"read of {place}: truncated"] = Case("reader", (Fault(chunk(READ, number).answered(200), Truncate(5)),))
        lines = max(number - 2, 0)  # in the chunks before
        is_claim = number == FIRST_CHUNK
        found[f"upload of {place}: 403"] = Case(
            "writer",
            (Fault(chunk(UPLOAD, number), storage_forbidden(), EVERY),),
            error="storage_forbidden" if is_claim else "could not be stored",
            lines=lines,
            executions=0 if is_claim else 1,
        )
        found[f"read of {place}: 403"] = Case(
            "reader",
            (Fault(chunk(READ, number), storage_forbidden("storage.objects.get"), EVERY),),
            error="permission denied",
            lines=lines,
        )
    return found


def call_cases() -> dict[str, Case]:
    """Return the faults of the call, in its first attempt or in all."""
    found = {
        f"call: {name}": Case("call", (Fault(CALL, action),))
        for name, action in (CALL_NOT_PROCESSED | CALL_PROCESSED).items()
    }
    silent = Stall(3600, processed=True)  # a link that drops idle connections and tells neither side
    found["call: silent for good although processed"] = Case("call", (Fault(CALL, silent),))
    for name, action in {"401": UNAUTHENTICATED, "403": NOT_INVOKER}.items():
        found[f"call: {name}"] = Case(
            "call",
            (Fault(CALL, action),),
            error="rejected the call before it reached the function",
            lines=0,
            executions=0,
            late_executions=1,
        )
    found["call: 429 in every attempt"] = Case(
        "call", (Fault(CALL, NO_INSTANCE_429, EVERY, minimum=3),), error="HTTP 429", lines=0, executions=0
    )
    return found


def cases_of_two_attempts() -> dict[str, Case]:
    """Return the cases whose first attempt is lost and whose later ones get another answer."""
    found: dict[str, Case] = {}
    for (first_name, lost), (name, answer) in product(LOST_ATTEMPTS.items(), LATER_ANSWERS.items()):
        faults = (Fault(CALL, lost), Fault(CALL, answer, after(1), minimum=0))
        starts_too_late = isinstance(lost, DeliverLate) and (lost.seconds > RUN_BOUND or answer.code in {403, 404})
        if starts_too_late:
            case = Case("call", faults, error=f"HTTP {answer.code}", lines=0, executions=0)
        else:
            case = Case("call", faults)
        found[f"attempts: {first_name}; then {name}"] = case
    return found


def cases_of_own_statuses() -> dict[str, Case]:
    """Return the cases in which the function itself returns a status that is not 2xx, with or without its answer."""
    found: dict[str, Case] = {}
    for status in OWN_STATUSES:
        for name, action in {"": Delay(0), ", lost": ResetAfter(), ", behind a proxy's 503": StatusAfter(503)}.items():
            error = f"The function returned HTTP {status}, expected 2xx"
            found[f"own status: {status}{name}"] = Case("call", (Fault(CALL, action),), status=status, error=error)
    return found


def cleanup_cases() -> dict[str, Case]:
    """Return the faults of the cleanup."""
    found: dict[str, Case] = {}
    for name, action in {
        "503": STORAGE_UNAVAILABLE,
        "503 for each object": StatusOfEach(STORAGE_UNAVAILABLE),
        "reset before": ResetBefore(),
        "reset after": ResetAfter(),
    }.items():
        found[f"cleanup: {name}"] = Case("reader", (Fault(DELETE, action),))
    forbidden = StatusOfEach(storage_forbidden("storage.objects.delete"))
    found["cleanup: 403"] = Case("reader", (Fault(DELETE, forbidden, EVERY),), kept=LAST_CHUNK)
    return found


CASES: Final = cases()
