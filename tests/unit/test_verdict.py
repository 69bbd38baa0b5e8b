"""The verdict table: every way in which a call and its messages can end, and what is made of it."""

from dataclasses import replace

import pytest
from dagster import Failure, MetadataValue
from dagster_pipes import PipesException
from hypothesis import example, given
from hypothesis import strategies as st

from dagster_gcf_pipes import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionError,
    PipesCloudFunctionExceptionError,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionNotClosedError,
    PipesCloudFunctionNotOpenedError,
    PipesCloudFunctionRefusedError,
)
from dagster_gcf_pipes._verdict import CallRecord, SessionRecord, died_without_a_word, find_error

METADATA = {"function_url": MetadataValue.url("https://functions/orders"), "http_status": MetadataValue.int(200)}


def raised(message: str, *, stack: tuple[str, ...] = (), cause: PipesException | None = None) -> PipesException:
    return PipesException(message=message, stack=stack, name=message.partition(":")[0], cause=cause, context=None)


BOOM = raised("ValueError: boom\n", stack=("  File main.py, line 7, in main\n",))

ANSWERED = CallRecord(status=200, chunk_count=2)
ANSWERED_BY_OTHER_WRITER = CallRecord(status=200)
FAILED = CallRecord(status=500, body="Internal Server Error", chunk_count=2)
LOST = CallRecord(lost="ReadTimeout: timed out after 90 s")
REFUSED = CallRecord(status=400, body="no key 'DAGSTER_PIPES_CONTEXT'", error_code="bad_request")
DUPLICATE = CallRecord(status=409, body="another delivery", error_code="duplicate_call")

NO_INSTANCE = "The request was aborted because there was no available instance."

NOTHING = SessionRecord()
OPENED = SessionRecord(opened=True, chunk_count=1, message_count=3)
FATES = {
    502: "it crashed, or ran out of memory or time",
    503: "its instance died, most often for want of memory",
    504: "it ran longer than its timeout",
}
COMPLETE = SessionRecord(opened=True, closed=True, chunk_count=2, message_count=5)
RAISED = replace(COMPLETE, exception=BOOM)
UNREADABLE = replace(OPENED, failure=ValueError("line 2 of gs://lake/s/2.json"))


def no_access(status: int) -> CallRecord:
    return CallRecord(status=status, body="<html>denied</html>")


SUCCESSES = [
    pytest.param(ANSWERED, COMPLETE, id="2xx, opened, closed, all chunks"),
    pytest.param(replace(ANSWERED, status=204), COMPLETE, id="any 2xx will do"),
    pytest.param(ANSWERED_BY_OTHER_WRITER, COMPLETE, id="2xx, opened, closed, and no count of the chunks"),
    pytest.param(replace(ANSWERED, body="ignored"), COMPLETE, id="the body does not matter"),
    pytest.param(LOST, COMPLETE, id="the call was lost, but the function has closed its session"),
    pytest.param(DUPLICATE, COMPLETE, id="409, and the first delivery has closed the session"),
    *(
        pytest.param(CallRecord(status=status), COMPLETE, id=f"{status}, but the function has closed its session")
        for status in (502, 503, 504)
    ),
]

FAILURES = [
    # 2xx, but the messages do not agree
    pytest.param(
        ANSWERED_BY_OTHER_WRITER,
        NOTHING,
        PipesCloudFunctionNotOpenedError,
        False,
        ["HTTP 200", "opened no Pipes session", "gcf_pipes.pipes_function", "PipesMappingParamsLoader"],
        id="2xx, no message",
    ),
    pytest.param(
        ANSWERED,
        OPENED,
        PipesCloudFunctionMessagesError,
        True,
        ["wrote 2 chunks", "chunk 2 is not in the bucket"],
        id="2xx, the last chunk is missing",
    ),
    pytest.param(
        replace(ANSWERED, chunk_count=7),
        replace(OPENED, chunk_count=3),
        PipesCloudFunctionMessagesError,
        True,
        ["wrote 7 chunks", "chunk 4 is not in the bucket"],
        id="2xx, a chunk in the middle is missing",
    ),
    pytest.param(
        ANSWERED,
        NOTHING,
        PipesCloudFunctionMessagesError,
        True,
        ["wrote 2 chunks", "chunk 1 is not in the bucket"],
        id="2xx, every chunk is missing",
    ),
    pytest.param(
        ANSWERED_BY_OTHER_WRITER,
        OPENED,
        PipesCloudFunctionNotClosedError,
        True,
        ["HTTP 200", "without closing", "3 messages in 1 chunks", "context manager"],
        id="2xx, opened, not closed",
    ),
    pytest.param(
        replace(ANSWERED, chunk_count=1),
        OPENED,
        PipesCloudFunctionNotClosedError,
        True,
        ["HTTP 200", "without closing"],
        id="2xx, all chunks, not closed",
    ),
    # closed with an exception, however the call ended
    *(
        pytest.param(
            call,
            RAISED,
            PipesCloudFunctionExceptionError,
            True,
            ["The function raised ValueError: boom"],
            id=f"{name}, closed with an exception",
        )
        for name, call in {
            "2xx": ANSWERED,
            "500": FAILED,
            "503": replace(FAILED, status=503),
            "404": no_access(404),
            "lost": LOST,
            "duplicate": DUPLICATE,
        }.items()
    ),
    pytest.param(
        ANSWERED,
        replace(RAISED, failure=ValueError("line 2 of gs://lake/s/2.json")),
        PipesCloudFunctionExceptionError,
        True,
        ["The function raised ValueError: boom"],
        id="closed with an exception, and then the messages could not be read",
    ),
    # the messages could not be read
    *(
        pytest.param(
            call,
            UNREADABLE,
            PipesCloudFunctionMessagesError,
            True,
            ["could not be read and handled to their end", "line 2 of gs://lake/s/2.json"],
            id=f"{name}, messages could not be read",
        )
        for name, call in {"2xx": ANSWERED, "500": FAILED, "lost": LOST}.items()
    ),
    # the platform did not let the call through
    pytest.param(
        no_access(401),
        NOTHING,
        PipesCloudFunctionAccessError,
        False,
        ["HTTP 401", "audience", "<html>denied</html>"],
        id="401",
    ),
    pytest.param(
        no_access(403),
        NOTHING,
        PipesCloudFunctionAccessError,
        False,
        ["HTTP 403", "roles/run.invoker", "<html>denied</html>"],
        id="403",
    ),
    pytest.param(
        no_access(404),
        NOTHING,
        PipesCloudFunctionAccessError,
        False,
        ["HTTP 404", "ingress", "<html>denied</html>"],
        id="404",
    ),
    # the runtime refused the call
    pytest.param(
        REFUSED,
        NOTHING,
        PipesCloudFunctionRefusedError,
        False,
        ["refused", "400 bad_request", "DAGSTER_PIPES_CONTEXT"],
        id="400, refused by the runtime",
    ),
    pytest.param(
        DUPLICATE,
        OPENED,
        PipesCloudFunctionCallError,
        True,
        ["HTTP 409", "another delivery", "did not close", "it crashed, or ran out of memory or time"],
        id="409, the delivery that has claimed the session did not close it",
    ),
    # the call was lost, or ended with another status
    pytest.param(
        LOST,
        NOTHING,
        PipesCloudFunctionCallError,
        True,
        ["no response", "ReadTimeout: timed out after 90 s", "opened no Pipes session"],
        id="lost, not opened",
    ),
    pytest.param(
        LOST,
        OPENED,
        PipesCloudFunctionCallError,
        True,
        ["no response", "ReadTimeout", "3 messages in 1 chunks", "did not close"],
        id="lost, opened, not closed",
    ),
    pytest.param(
        CallRecord(lost="ConnectTimeout: no route", sent=False),
        NOTHING,
        PipesCloudFunctionCallError,
        True,
        ["no response", "ConnectTimeout: no route", "opened no Pipes session", "check the URL"],
        id="no connection",
    ),
    *(
        pytest.param(
            CallRecord(status=status, body="try again"),
            session,
            PipesCloudFunctionCallError,
            True,
            [f"HTTP {status}, expected 2xx", "try again", progress],
            id=f"{status}, {name}",
        )
        for status in (400, 429, 500)
        for name, session, progress in (
            ("not opened", NOTHING, "opened no Pipes session"),
            ("opened, not closed", OPENED, "did not close"),
            ("opened and closed", COMPLETE, "and closed"),
        )
    ),
    *(
        pytest.param(
            CallRecord(status=status, body="upstream error"),
            session,
            PipesCloudFunctionCallError,
            True,
            [f"HTTP {status}", "upstream error", progress],
            id=f"{status}, {name}",
        )
        for status in (502, 503, 504)
        for name, session, progress in (
            ("not opened", NOTHING, "opened no Pipes session"),
            ("opened, not closed", OPENED, f"did not close its Pipes session: {FATES[status]}"),
        )
    ),
    *(
        pytest.param(
            CallRecord(status=status, body=body),
            NOTHING,
            PipesCloudFunctionCallError,
            True,
            [f"HTTP {status}", "opened no Pipes session: ", fact],
            id=f"{status} {body!r} before the function's code ran",
        )
        for status, body, fact in (
            (429, "", "Deploy it with more (`--max-instances`)"),
            (500, NO_INSTANCE, "Deploy it with more (`--max-instances`)"),
            (503, NO_INSTANCE, "Deploy it with more (`--max-instances`)"),
            (503, "malformed response", "its instance died before your code ran"),
            (504, "upstream request timeout", "set THREADS in the function's environment"),
        )
    ),
    pytest.param(
        replace(REFUSED, body=f"{'why, ' * 300}and what mends it"),
        NOTHING,
        PipesCloudFunctionRefusedError,
        False,
        ["and what mends it"],
        id="the end of a refusal's text is shown: it has the mend",
    ),
    pytest.param(
        CallRecord(status=302, location="https://elsewhere.example/orders"),
        NOTHING,
        PipesCloudFunctionCallError,
        False,
        ["HTTP 302", "a redirect to https://elsewhere.example/orders", "not followed"],
        id="redirected",
    ),
    pytest.param(
        replace(FAILED, status=302),
        COMPLETE,
        PipesCloudFunctionCallError,
        True,
        ["HTTP 302, expected 2xx", "and closed"],
        id="302 of the function's own, opened and closed",
    ),
    *(
        pytest.param(
            CallRecord(
                **how, identity_error=PipesCloudFunctionIdentityError("nobody is logged in", allow_retries=passing)
            ),
            NOTHING,
            PipesCloudFunctionIdentityError,
            passing,
            ["nobody is logged in"],
            id=f"no ID token, {how}, {passing}",
        )
        for passing in (True, False)
        for how in ({"status": 401}, {"status": 403}, {"lost": "no ID token", "sent": False})
    ),
    *(
        pytest.param(
            CallRecord(status=status, hint="Let dagster@p.iam.gserviceaccount.com call it."),
            NOTHING,
            PipesCloudFunctionAccessError,
            False,
            [f"HTTP {status}", "Let dagster@p.iam.gserviceaccount.com call it."],
            id=f"{status} with a hint",
        )
        for status in (401, 403)
    ),
    pytest.param(
        replace(FAILED, status=404),
        COMPLETE,
        PipesCloudFunctionCallError,
        True,
        ["HTTP 404, expected 2xx", "and closed"],
        id="404 of the function's own, opened and closed",
    ),
]


@pytest.mark.parametrize(("call", "session"), SUCCESSES)
def test_succeeds(call: CallRecord, session: SessionRecord) -> None:
    assert find_error(call, session, METADATA) is None


@pytest.mark.parametrize(("call", "session", "error_class", "allow_retries", "facts"), FAILURES)
def test_fails_with_the_error_of_its_row(
    call: CallRecord,
    session: SessionRecord,
    error_class: type[PipesCloudFunctionError],
    allow_retries: bool,
    facts: list[str],
) -> None:
    error = find_error(call, session, METADATA)
    assert type(error) is error_class
    assert error.allow_retries is allow_retries
    assert METADATA.items() <= error.metadata.items()
    assert [fact for fact in facts if fact not in str(error.description)] == []


def test_exceptions_traceback_is_in_the_metadata_causes_first() -> None:
    exception = raised(
        "ValueError: boom\n", stack=("  in main\n",), cause=raised("KeyError: 'id'\n", stack=("  in f\n",))
    )
    error = find_error(FAILED, replace(COMPLETE, exception=exception), METADATA)
    assert error is not None
    assert error.metadata["cloud_function/traceback"] == MetadataValue.md(
        "```\n  in f\nKeyError: 'id'\n\n  in main\nValueError: boom\n\n```"
    )


def test_context_of_an_exception_is_shown_if_it_has_no_cause() -> None:
    exception = {**raised("ValueError: boom"), "context": raised("KeyError: 'id'")}
    error = find_error(ANSWERED, replace(COMPLETE, exception=exception), METADATA)  # type: ignore[arg-type]
    assert error is not None
    assert error.metadata["cloud_function/traceback"] == MetadataValue.md("```\nKeyError: 'id'\nValueError: boom\n```")


def test_what_ended_the_reading_is_the_cause() -> None:
    error = find_error(ANSWERED, UNREADABLE, METADATA)
    assert error is not None
    assert error.__cause__ is UNREADABLE.failure


def test_long_body_is_cut() -> None:
    error = find_error(CallRecord(status=500, body="x" * 100_000), NOTHING, METADATA)
    assert error is not None
    assert "x..." in str(error.description)
    assert len(str(error.description)) < 1500


def test_empty_body_is_called_nothing() -> None:
    error = find_error(CallRecord(status=500, body=" \n"), NOTHING, METADATA)
    assert error is not None
    assert "The response says: nothing" in str(error.description)


def test_refusal_because_the_storage_is_unavailable_may_be_retried() -> None:
    call = CallRecord(status=503, body="Cannot create gs://lake/s/1.json", error_code="storage_unavailable")
    error = find_error(call, NOTHING, METADATA)
    assert type(error) is PipesCloudFunctionRefusedError
    assert error.allow_retries


def test_404_of_a_function_whose_messages_are_lost_is_not_said_not_to_have_reached_it() -> None:
    assert not isinstance(
        find_error(replace(no_access(404), chunk_count=2), NOTHING, METADATA), PipesCloudFunctionAccessError
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(ANSWERED, 2, id="as many as the function says"),
        pytest.param(ANSWERED_BY_OTHER_WRITER, None, id="not known if the function does not say"),
        pytest.param(LOST, None, id="not known if the call was lost"),
        pytest.param(replace(LOST, sent=False), 0, id="none if the call was not even sent"),
        pytest.param(no_access(403), 0, id="none if the call did not reach the function"),
        pytest.param(replace(no_access(404), chunk_count=2), 2, id="as many as the function says with its own 404"),
    ],
)
def test_chunks_to_expect(call: CallRecord, expected: int | None) -> None:
    assert call.chunks_to_expect == expected


@pytest.mark.parametrize(
    ("call", "summary"),
    [(ANSWERED, "was answered with HTTP 200"), (LOST, "got no response (ReadTimeout: timed out after 90 s)")],
)
def test_summary_of_the_call(call: CallRecord, summary: str) -> None:
    assert call.summary == summary


counts = st.integers(min_value=0, max_value=3)
calls = st.builds(
    CallRecord,
    status=st.sampled_from([200, 201, 204, 299]) | st.none() | st.integers(min_value=100, max_value=599),
    lost=st.none() | st.text(),
    sent=st.booleans(),
    body=st.text(),
    error_code=st.none() | st.sampled_from(["bad_request", ""]),
    chunk_count=st.none() | counts,
)
sessions = st.builds(
    SessionRecord,
    opened=st.booleans(),
    closed=st.booleans(),
    exception=st.none() | st.just(BOOM),
    chunk_count=counts,
    message_count=counts,
    failure=st.none() | st.builds(ValueError, st.text()),
)


def is_success(call: CallRecord, session: SessionRecord) -> bool:
    answered = call.error_code is None and (call.status is None or call.status in {*range(200, 300), 502, 503, 504})
    return (
        (answered or (call.status == 409 and call.error_code is not None))
        and (call.chunk_count is None or session.chunk_count >= call.chunk_count)
        and session.opened
        and session.closed
        and session.exception is None
        and session.failure is None
    )


@given(calls, sessions)
@example(ANSWERED, replace(COMPLETE, opened=False))
def test_succeeds_if_and_only_if_nothing_is_wrong(call: CallRecord, session: SessionRecord) -> None:
    assert (find_error(call, session, METADATA) is None) == is_success(call, session)


@given(calls, sessions)
@example(ANSWERED, COMPLETE)
def test_succeeds_if_and_only_if_nothing_is_wrong_with_a_session_that_opened_before_it_closed(
    call: CallRecord, session: SessionRecord
) -> None:
    session = replace(session, opened=session.opened or session.closed)
    assert (find_error(call, session, METADATA) is None) == is_success(call, session)


@given(calls, sessions)
def test_every_error_is_a_failure_with_the_metadata(call: CallRecord, session: SessionRecord) -> None:
    error = find_error(call, session, METADATA)
    if error is not None:
        assert isinstance(error, Failure)
        assert METADATA.items() <= error.metadata.items()


def test_what_the_platform_logged_is_the_fate_of_a_function_that_died() -> None:
    call = CallRecord(status=503, fate="it ran out of memory (Memory limit of 256 MiB exceeded)")
    error = find_error(call, OPENED, METADATA)
    assert error is not None
    assert "but did not close its Pipes session: it ran out of memory (Memory limit of" in str(error.description)


@pytest.mark.parametrize(
    ("call", "session", "died"),
    [
        (CallRecord(status=503), OPENED, True),
        (CallRecord(status=500), NOTHING, True),
        (LOST, OPENED, True),
        (CallRecord(lost="refused", sent=False), NOTHING, False),
        (CallRecord(status=503), COMPLETE, False),
        (CallRecord(status=403), NOTHING, False),
        (CallRecord(status=429), NOTHING, False),
        (CallRecord(status=503, error_code="storage_unavailable"), NOTHING, False),
        (LOST, replace(OPENED, failure=ValueError("unreadable")), False),
    ],
)
def test_the_logs_are_asked_only_about_a_function_that_did_not_tell_its_end(
    call: CallRecord, session: SessionRecord, died: bool
) -> None:
    assert died_without_a_word(call, session) is died
