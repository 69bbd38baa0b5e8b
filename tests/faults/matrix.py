"""Every fault at every place where it can strike, and what must come of it.

Three proxies stand between the parts: the function and its bucket, Dagster and its bucket, Dagster and the function.
The function writes `opened`, four lines and `closed`, each as a chunk of its own.
"""

from dataclasses import dataclass
from typing import Final, Literal

from tests.faults import (
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
    Away,
    Delay,
    Duplicate,
    Fault,
    Match,
    ResetAfter,
    ResetBefore,
    Stall,
    StatusAfter,
    Truncate,
    storage_error,
    storage_forbidden,
)

LINES: Final = [f"line {number}" for number in range(4)]
FIRST_CHUNK: Final = 1
MIDDLE_CHUNK: Final = 3
LAST_CHUNK: Final = 6
PLACES: Final = {"opened": FIRST_CHUNK, "first line": 2, "a middle line": MIDDLE_CHUNK, "closed": LAST_CHUNK}
RUN_BOUND: Final = 60.0
"""Seconds within which every run must have ended."""
SOON: Final = 45.0
"""Seconds within which a run must have ended of which nothing but its messages tells: 50 would be its timeout."""

Link = Literal["writer", "reader", "call"]


@dataclass(frozen=True)
class Case:
    """A fault, where it strikes, and what must come of it.

    Attributes:
        link: The proxy in which the fault strikes.
        fault: The fault.
        error: A text that the step's error must have, or None if the run must succeed.
        lines: How many of the function's lines must be shown.
        executions: How often the user's code must have run.
        kept: How many objects are left when a run has succeeded.
        bound: Seconds within which the run must have ended.
    """

    link: Link
    fault: Fault
    error: str | None = None
    lines: int = len(LINES)
    executions: int = 1
    kept: int = 0
    bound: float = RUN_BOUND


TRANSIENT_STORAGE: dict[str, Action] = {
    "503": STORAGE_UNAVAILABLE,
    "429": STORAGE_RATE_LIMITED,
    "500": storage_error(500, "internalError", "Internal error."),
    "reset before": ResetBefore(),
    "reset after": ResetAfter(),
    "503 although processed": StatusAfter(503),
    "a stall": Stall(0.3),
    "a delay": Delay(0.3),
    "a bucket that is away": Away(0.6),
}

CALL_NOT_PROCESSED: dict[str, Action] = {
    "429, no instance": NO_INSTANCE_429,
    "500, no instance": NO_INSTANCE_500,
    "503, the instance died": INSTANCE_DIED,
    "504": PLATFORM_TIMEOUT,
    "reset before": ResetBefore(),
    "a stall": Stall(0.3),
    "a delay": Delay(0.3),
    "a function that is away": Away(0.3),
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


def cases() -> dict[str, Case]:
    """Return every fault at every place where it can strike."""
    found: dict[str, Case] = {}
    for place, number in PLACES.items():
        for name, action in TRANSIENT_STORAGE.items():
            found[f"upload of {place}: {name}"] = Case("writer", Fault(chunk(UPLOAD, number), action))
            found[f"read of {place}: {name}"] = Case("reader", Fault(chunk(READ, number), action))
        found[f"upload of {place}: a truncated answer"] = Case("writer", Fault(chunk(UPLOAD, number), Truncate(5)))
        found[f"read of {place}: truncated"] = Case("reader", Fault(chunk(READ, number).answered(200), Truncate(5)))
        lines = max(number - 2, 0)  # those in the chunks before
        found[f"upload of {place}: 403"] = Case(
            "writer",
            Fault(chunk(UPLOAD, number), storage_forbidden(), EVERY),
            error="storage_forbidden" if number == FIRST_CHUNK else "could not be stored",
            lines=lines,
            executions=0 if number == FIRST_CHUNK else 1,
        )
        found[f"read of {place}: 403"] = Case(
            "reader",
            Fault(chunk(READ, number), storage_forbidden("storage.objects.get"), EVERY),
            "permission denied",
            lines,
        )
    for name, action in (CALL_NOT_PROCESSED | CALL_PROCESSED).items():
        found[f"call: {name}"] = Case("call", Fault(CALL, action))
    silent = Stall(3600, processed=True)  # a link that drops idle connections and tells neither side
    found["call: silent for good although processed"] = Case("call", Fault(CALL, silent), bound=SOON)
    for name, action in {"401": UNAUTHENTICATED, "403": NOT_INVOKER}.items():
        found[f"call: {name}"] = Case("call", Fault(CALL, action), "did not reach the function", lines=0, executions=0)
    found["call: 429 in every attempt"] = Case(
        "call", Fault(CALL, NO_INSTANCE_429, EVERY, minimum=3), "HTTP 429", lines=0, executions=0
    )
    for name, action in {
        "503": STORAGE_UNAVAILABLE,
        "reset before": ResetBefore(),
        "reset after": ResetAfter(),
    }.items():
        found[f"cleanup: {name}"] = Case("reader", Fault(chunk(DELETE, MIDDLE_CHUNK), action))
    forbidden = storage_forbidden("storage.objects.delete")
    found["cleanup: 403"] = Case("reader", Fault(DELETE, forbidden, EVERY), kept=LAST_CHUNK)
    return found


CASES: Final = cases()
