"""The tasks `fail` and `status`: how the user's code ends, and what Dagster learns of it."""

from typing import Final

from gcf_pipes._shared.protocol import RESPONSE_STATUS_EXCEPTION

from dagster_gcf_pipes._conformance.calls import Caller, dumps
from dagster_gcf_pipes._conformance.findings import Checks, expect
from dagster_gcf_pipes._conformance.sessions import Session

SERVER_ERROR: Final = 500
TEAPOT: Final = 418
CONFLICT: Final = 409
CREATED: Final = 201
BODY: Final = "conformance: a body of its own"


def fail(caller: Caller) -> Checks:
    """Call the task that raises."""
    session = caller.call("fail")
    return {
        "exception": lambda: _check_exception(session),
        "exception-status": lambda: _check_exception_status(session),
    }


def _check_exception(session: Session) -> str:
    exception = session.exception
    expect(exception, "`closed` with an exception", dumps(session.closed_params), session.uri)
    for link, text in (("exception", "conformance failure"), ("cause", "conformance cause")):
        described = exception if link == "exception" else (exception or {}).get("cause")
        described = described if isinstance(described, dict) else {}
        name, message, stack = (described.get(field) for field in ("name", "message", "stack"))
        expect(isinstance(name, str) and name, f"the name of the {link}", dumps(name), session.uri)
        expect(text in str(message), f"the message {text!r} of the {link}", dumps(message), session.uri)
        lines = isinstance(stack, list) and all(isinstance(line, str) for line in stack)
        expect(lines, f"the stack of the {link} as a list of lines", dumps(stack), session.uri)
    expect((exception or {}).get("stack"), "a stack with lines", "an empty one", session.uri)
    return f"{(exception or {}).get('name')} with its cause"


def _check_exception_status(session: Session) -> str:
    answer = session.answer
    right = answer.status == SERVER_ERROR and answer.is_from_function
    expect(right, "HTTP 500 with the chunk count", answer.description, session.uri)
    return answer.description.partition(" with")[0]


def respond_with_statuses(caller: Caller) -> Checks:
    """Call the task that responds with a status of its own."""
    sessions = {status: _respond(caller, status) for status in (TEAPOT, SERVER_ERROR, CONFLICT, CREATED)}

    def check() -> str:
        for status in (TEAPOT, SERVER_ERROR):
            _check_unchanged(sessions[status], status)
            _check_status_exception(sessions[status], status)
        _check_unchanged(sessions[CREATED], CREATED)
        exception = sessions[CREATED].exception
        expect(exception is None, "no exception after HTTP 201", dumps(exception), sessions[CREATED].uri)
        return ", ".join(map(str, (TEAPOT, SERVER_ERROR, CREATED)))

    def check_conflict() -> str:
        session = sessions[CONFLICT]
        _check_unchanged(session, CONFLICT)
        right = session.answer.is_from_function and "dagster-pipes-error" not in session.answer.headers
        expect(right, "the chunk count and no `Dagster-Pipes-Error`", session.answer.description, session.uri)
        _check_status_exception(session, CONFLICT)
        return "it counts as a failure of its own"

    return {"own-status": check, "own-conflict": check_conflict}


def _respond(caller: Caller, status: int) -> Session:
    return caller.call("status", event={"status": status, "body": BODY})


def _check_unchanged(session: Session, status: int) -> None:
    answer = session.answer
    expected = f"HTTP {status} with the body {BODY!r}"
    expect(answer.status == status and answer.body.decode("utf-8", "replace") == BODY, expected, answer.description)


def _check_status_exception(session: Session, status: int) -> None:
    exception = session.exception or {}
    name, message = exception.get("name"), str(exception.get("message"))
    expect(name == RESPONSE_STATUS_EXCEPTION, f"a {RESPONSE_STATUS_EXCEPTION} in `closed`", dumps(name), session.uri)
    expected = f"a message with {status} and {BODY!r}"
    expect(str(status) in message and BODY in message, expected, dumps(message), session.uri)
