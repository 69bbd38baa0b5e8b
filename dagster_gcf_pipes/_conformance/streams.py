"""The task `burst`: many lines in a short time."""

from typing import Final

from dagster_gcf_pipes._conformance.calls import Caller
from dagster_gcf_pipes._conformance.findings import Checks, expect
from dagster_gcf_pipes._conformance.sessions import Session

LINES: Final = 4000
SIZE: Final = 1000
LEAST_CHUNKS: Final = 3
"""Chunk 1, and at least two more: memory is bounded if chunks are."""


def burst(caller: Caller) -> Checks:
    """Let the user's code log thousands of lines at once."""
    session = caller.call("burst", event={"lines": LINES, "size": SIZE})
    return {"burst": lambda: _check(session)}


def _check(session: Session) -> str:
    expected = [f"{number} ".ljust(SIZE, "x") for number in range(LINES)]
    logged = session.logged
    expect(len(logged) == LINES, f"{LINES} lines", f"{len(logged)}; {session.answer.description}", session.uri)
    wrong = next((number for number in range(LINES) if logged[number] != expected[number]), None)
    if wrong is not None:
        expect(condition=False, expected=f"{expected[wrong][:20]!r}", got=f"{logged[wrong][:40]!r}", where=session.uri)
    chunks = len({number for number, message in session.numbered_messages})
    expect(chunks >= LEAST_CHUNKS, f"at least {LEAST_CHUNKS} chunks with messages", chunks, session.uri)
    return f"{LINES} lines of {SIZE} characters in {chunks} chunks"
