"""What holds in every session of the run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from gcf_pipes._shared.protocol import HEARTBEAT, MAX_CLOSED_RESPONSE_BYTES, RESPONSE_PARAM

from dagster_gcf_pipes._conformance.calls import Caller, dumps
from dagster_gcf_pipes._conformance.findings import Checks, NotMetError, NotThereError, expect
from dagster_gcf_pipes._conformance.sessions import Session
from dagster_gcf_pipes._messages.parser import ChunkFormatError, parse_chunk, read_response

_PARAMS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "log": (frozenset({"message", "level"}), frozenset()),
    "report_asset_materialization": (frozenset({"asset_key", "metadata", "data_version"}), frozenset()),
    "report_asset_check": (
        frozenset({"asset_key", "check_name", "passed", "severity", "metadata"}),
        frozenset(),
    ),
    "report_custom_message": (frozenset({"payload"}), frozenset()),
    "log_external_stream": (frozenset({"stream", "text"}), frozenset({"extras"})),
}
"""The params that each message must have, and those that it may have. Dagster passes them on as arguments."""


def check_sessions(caller: Caller) -> Checks:
    """Check each session that was called in the usual way, after all calls have ended."""
    sessions = [session for session in caller.sessions if session.chunks or session.answer.is_from_function]
    return {
        "claim-unique": lambda: _check_unique(sessions),
        "chunk-numbers": lambda: _each(sessions, _check_numbers),
        "chunk-format": lambda: _each(sessions, _check_format),
        "chunk-count": lambda: _each(sessions, _check_count),
        "opened-first": lambda: _each(sessions, _check_opened),
        "closed-response": lambda: _check_responses(sessions),
        "closed-last": lambda: _each(sessions, _check_closed),
        "sealed": lambda: _each(sessions, lambda session: _check_sealed(caller, session)),
    }


def _each(sessions: Sequence[Session], check: Callable[[Session], None]) -> str:
    expect(sessions, "sessions with chunks", "none")
    for session in sessions:
        check(session)
    return f"in {len(sessions)} sessions"


def _check_unique(sessions: Sequence[Session]) -> str:
    claims: dict[bytes, Session] = {}
    expect(sessions, "sessions with chunks", "none")
    for session in sessions:
        claim = session.chunks.get(1, b"")
        other = claims.setdefault(claim, session)
        expect(other is session, "different bytes in two sessions", "the same", f"{other.uri} and {session.uri}")
    return f"{len(sessions)} different ones"


def _check_numbers(session: Session) -> None:
    numbers = sorted(session.chunks)
    expected = list(range(1, len(numbers) + 1))
    expect(numbers == expected, f"the chunks {_shown(expected)}", _shown(numbers), session.uri)


def _shown(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "")  # noqa: PLR2004


def _check_format(session: Session) -> None:
    for number, data in sorted(session.chunks.items()):
        uri = session.chunk_uri(number)
        if data == HEARTBEAT:
            continue
        expect(data.endswith(b"\n"), "a newline at the end of each line", repr(data[-20:]), uri)
        try:
            messages: Iterable[Any] = list(parse_chunk(data, uri))
        except ChunkFormatError as error:
            expect(condition=False, expected="Pipes messages", got=str(error), where=uri)
        for message in messages:
            _check_params(message["method"], message["params"], uri)


def _check_params(method: str, params: Mapping[str, Any] | None, uri: str) -> None:
    needed, allowed = _PARAMS.get(method, (frozenset(), None))
    names = frozenset(params or {})
    right = names >= needed and (allowed is None or names <= needed | allowed)
    expect(right, f"the params {sorted(needed)} of `{method}`", sorted(names), uri)


def _check_count(session: Session) -> None:
    said, stored = session.answer.attempt.chunk_count, len(session.chunks)
    got = "no such header" if said is None else said
    expect(said == stored, f"Dagster-Pipes-Chunk-Count: {stored}, as so many are stored", got, session.uri)


def _check_opened(session: Session) -> None:
    methods = session.methods
    expect(methods[:1] == ["opened"], "`opened` as the first message", dumps(methods[:1]), session.uri)
    expect(methods.count("opened") == 1, "one `opened`", methods.count("opened"), session.uri)


def _check_closed(session: Session) -> None:
    methods = session.methods
    expect(methods[-1:] == ["closed"], "`closed` as the last message", dumps(methods[-1:]), session.uri)
    expect(methods.count("closed") == 1, "one `closed`", methods.count("closed"), session.uri)


def _check_responses(sessions: Sequence[Session]) -> str:
    closed = [(session, (session.closed_params or {}).get(RESPONSE_PARAM)) for session in sessions]
    kept = [(session, response) for session, response in closed if response is not None]
    if not kept:
        raise NotThereError("`response` is not in `closed`: a step that adopts the call gets no response")
    for session, response in kept:
        _check_response(session, response)
    return f"in {len(kept)} sessions"


def _check_response(session: Session, response: object) -> None:
    """Compare the response in `closed` with what arrived. Dagster ignores what is no short 2xx text."""
    answer = session.answer
    if (valid := read_response(response)) is None:
        expected = f"a 2xx `status`, `content_type`, and a `body` of at most {MAX_CLOSED_RESPONSE_BYTES:,} bytes"
        raise NotMetError(f"Expected {expected}, got {dumps(response)}, at {session.uri}.")
    got = valid["status"], valid["body"]
    expected_pair = answer.status, answer.body.decode("utf-8", errors="replace")
    expect(got == expected_pair, f"the response, {dumps(expected_pair)}", dumps(got), session.uri)


def _check_sealed(caller: Caller, session: Session) -> None:
    now = caller.look(session.prefix, session.answer)
    same = (now.chunks, now.created) == (session.chunks, session.created)
    new = sorted(set(now.chunks) - set(session.chunks))
    expect(same, "the same chunks as at the response", f"new chunks {new}" if new else "changed chunks", session.uri)
