"""The verdict table: how the attempts of a call and its messages can end, and the outcome of each."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from dagster import Failure, MetadataValue
from dagster_pipes import PipesException
from hypothesis import given
from hypothesis import strategies as st

from dagster_gcf_pipes import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionNotClosedError,
    PipesCloudFunctionNotOpenedError,
    PipesCloudFunctionRaisedError,
    PipesCloudFunctionRefusedError,
)
from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._crash_logs import Cause
from dagster_gcf_pipes._fixes import CREDENTIALS_FIX, CallerIdentity, access_fix
from dagster_gcf_pipes._http import AnsweredBy, Attempt
from dagster_gcf_pipes._messages.cancel_marker import Claim
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._messages.session_reader import AnotherProtocolError
from dagster_gcf_pipes._outcome import judge, may_still_run, needs_log_tail, succeeded
from tests.faults.plan import INSTANCE_DIED
from tests.quotes import Quote

WITH_TOKEN = CallerIdentity("an identity", needs_token=True, sent_token=True, email="dagster@p.iam.gserviceaccount.com")
NO_INSTANCE = "The request was aborted because there was no available instance."


def function(status: int, body: str = "") -> Attempt:
    return Attempt(AnsweredBy.FUNCTION, status=status, chunk_count=2, body=body)


def platform(status: int, body: str = "try again", **details: Any) -> Attempt:
    return Attempt(AnsweredBy.PLATFORM, status=status, body=body, **details)


def no_token(*, allow_retries: bool) -> Attempt:
    error = PipesCloudFunctionIdentityError("nobody is logged in", allow_retries=allow_retries)
    return Attempt(AnsweredBy.NOT_SENT, error="no ID token", identity_error=error)


def raised(message: str, *, stack: tuple[str, ...] = (), cause: PipesException | None = None) -> PipesException:
    return PipesException(message=message, stack=stack, name=message.partition(":")[0], cause=cause, context=None)


OK = function(200)
RESET = Attempt(AnsweredBy.NOBODY, error="the connection broke")
REFUSED_CONNECTION = Attempt(AnsweredBy.NOT_SENT, error="127.0.0.1:8080 refused the connection", fix="Start it.")
UNTRUSTED = Attempt(AnsweredBy.NOT_SENT, error="not trusted", fix="Set REQUESTS_CA_BUNDLE.", retryable=False)
DUPLICATE = Attempt(AnsweredBy.DUPLICATE, status=409, body="another delivery", error_code="duplicate_call")
BAD_REQUEST = Attempt(AnsweredBy.REFUSAL, status=400, body="no key 'DAGSTER_PIPES_CONTEXT'", error_code="bad_request")
UNAVAILABLE = Attempt(AnsweredBy.REFUSAL, status=503, body="Cannot create 1.json", error_code="storage_unavailable")

NOTHING = SessionRecord()
OPENED = SessionRecord(opened=True, opened_extras={"closes_with_request": True}, chunk_count=1, message_count=3)
COMPLETE = replace(OPENED, closed=True, chunk_count=2, message_count=5)
RAISED = replace(COMPLETE, exception=raised("ValueError: boom\n", stack=("  File main.py, line 7, in main\n",)))
ANSWERED_503 = replace(
    COMPLETE, exception=raised("PipesResponseStatusError: The function returned HTTP 503, expected 2xx. Its body: away")
)
UNREADABLE = replace(OPENED, failure=ValueError("line 2 of gs://lake/s/2.json"))
SILENT = replace(OPENED, silent_for=31.0)
PLAIN_OPENED = replace(OPENED, opened_extras={})
PLAIN_COMPLETE = replace(COMPLETE, opened_extras={})
PLAIN_RAISED = replace(RAISED, opened_extras={})

OTHERS = (
    RESET,
    DUPLICATE,
    UNAVAILABLE,
    REFUSED_CONNECTION,
    *map(platform, (200, 302, 403, 404, 429, 500, 502, 503, 504)),
)

SUCCESSES = [
    pytest.param((OK,), COMPLETE, id="2xx of the function, closed"),
    pytest.param((function(204),), COMPLETE, id="any 2xx will do"),
    *(
        pytest.param((attempt,), COMPLETE, id=f"{attempt.answered_by.name} {attempt.status}, closed by our runtime")
        for attempt in OTHERS
    ),
    *(
        pytest.param((first, last), COMPLETE, id=f"{first.summary}, then {last.summary}, closed by our runtime")
        for first, last in product((RESET, platform(503)), (platform(429), platform(403), UNAVAILABLE, DUPLICATE))
    ),
    pytest.param((platform(200),), PLAIN_COMPLETE, id="2xx of a plain function, closed"),
]

Row = tuple[tuple[Attempt, ...], SessionRecord, type[PipesCloudFunctionError], list[str], bool]


def row(
    attempts: tuple[Attempt, ...],
    session: SessionRecord,
    error_class: type[PipesCloudFunctionError],
    facts: list[str],
    retryable: bool = True,
) -> Row:
    return attempts, session, error_class, facts, retryable


ROWS: dict[str, Row] = {
    # closed with an exception, whatever became of the answer
    **{
        f"{attempt.answered_by.name} {attempt.status}, closed with an exception": row(
            (attempt,), RAISED, PipesCloudFunctionRaisedError, ["The function raised ValueError: boom"]
        )
        for attempt in (OK, function(500), *OTHERS)
    },
    "closed with an exception, and then the messages could not be read": row(
        (OK,),
        replace(RAISED, failure=ValueError("line 2")),
        PipesCloudFunctionRaisedError,
        ["The function raised ValueError: boom"],
    ),
    "a plain function's exception": row(
        (platform(500),), PLAIN_RAISED, PipesCloudFunctionRaisedError, ["The function raised ValueError: boom"]
    ),
    # the function's own status is not 2xx, and `closed` says so, whoever answered in the end
    **{
        f"{attempt.answered_by.name} {attempt.status}, closed with a status that is not 2xx": row(
            (attempt,),
            ANSWERED_503,
            PipesCloudFunctionCallError,
            ["The function returned HTTP 503, expected 2xx. Its body: away"],
        )
        for attempt in (function(503), *OTHERS)
    },
    "the function's own 500, though it closed without an exception": row(
        (function(500, "of an after_request hook"),),
        COMPLETE,
        PipesCloudFunctionCallError,
        ["got HTTP 500", "of an after_request hook"],
    ),
    # the messages could not be read, or are lost
    **{
        f"{attempt.answered_by.name} {attempt.status}, messages could not be read": row(
            (attempt,),
            UNREADABLE,
            PipesCloudFunctionMessagesError,
            ["Could not read and handle all messages", "line 2 of gs://lake/s/2.json"],
        )
        for attempt in (OK, function(500), RESET)
    },
    "another protocol": row(
        (RESET,),
        replace(OPENED, failure=AnotherProtocolError("Expected both sides to have one version.\nFix: Upgrade.")),
        PipesCloudFunctionMessagesError,
        ["Expected both sides to have one version.", "\nFix: Upgrade."],
        retryable=False,
    ),
    "the last chunk is missing": row(
        (OK,), OPENED, PipesCloudFunctionMessagesError, ["wrote 2 chunks", "chunk 2 is not in the bucket"]
    ),
    "every chunk is missing": row(
        (OK,), NOTHING, PipesCloudFunctionMessagesError, ["wrote 2 chunks", "chunk 1 is not in the bucket"]
    ),
    "a chunk in the middle is missing, and the call was lost": row(
        (RESET,),
        replace(OPENED, missing_chunks=(3, 5)),
        PipesCloudFunctionMessagesError,
        ["chunks 3, 5 are not in the bucket"],
    ),
    # answered 2xx, but the messages do not agree
    "2xx, not opened": row(
        (platform(200),),
        NOTHING,
        PipesCloudFunctionNotOpenedError,
        ["HTTP 200", "opened no Pipes session", "gcf_pipes.pipes_function", "PipesMappingParamsLoader"],
        retryable=False,
    ),
    "2xx of a plain function, not closed": row(
        (platform(200),),
        PLAIN_OPENED,
        PipesCloudFunctionNotClosedError,
        ["HTTP 200", "without closing", "3 messages in 1 chunk arrived", "context manager"],
    ),
    "2xx of a proxy, and a plain function closed that an earlier attempt has started": row(
        (RESET, platform(200)),
        PLAIN_COMPLETE,
        PipesCloudFunctionCallError,
        ["nobody knows who sent this response", "attempt 1 got no response"],
    ),
    "2xx of a proxy, and nothing of a function that an earlier attempt may have started": row(
        (RESET, platform(200)),
        NOTHING,
        PipesCloudFunctionCallError,
        ["got HTTP 200", "opened no Pipes session", "attempt 1 got no response"],
    ),
    "2xx of the function, all chunks, not closed": row(
        (replace(OK, chunk_count=1),), OPENED, PipesCloudFunctionNotClosedError, ["HTTP 200", "without closing"]
    ),
    "the function's messages could not be stored": row(
        (Attempt(AnsweredBy.FUNCTION, status=500, chunk_count=1, body="2 Pipes messages could not be stored"),),
        OPENED,
        PipesCloudFunctionCallError,
        ["got HTTP 500", "2 Pipes messages could not be stored", "did not close its Pipes session"],
    ),
    # without our runtime nobody knows whose answer it was
    **{
        f"{attempt.answered_by.name} {attempt.status}, a plain function closed": row(
            (attempt,),
            PLAIN_COMPLETE,
            PipesCloudFunctionCallError,
            ["closed its Pipes session", "nobody knows who sent this response", attempt.summary],
        )
        for attempt in (RESET, *map(platform, (302, 401, 403, 404, 429, 500, 502, 503, 504)))
    },
    # the platform rejected the call
    **{
        f"{status}": row(
            (platform(status, caller=WITH_TOKEN),),
            NOTHING,
            PipesCloudFunctionAccessError,
            [f"HTTP {status}", cause, "try again", f"\nFix: {access_fix(status, WITH_TOKEN)}"],
            retryable=False,
        )
        for status, cause in ((401, "audience"), (403, "roles/run.invoker"), (404, "ingress"))
    },
    "403, but an earlier attempt may have started the function": row(
        (RESET, platform(403)),
        NOTHING,
        PipesCloudFunctionAccessError,
        ["HTTP 403", "Before that: attempt 1 got no response (the connection broke)"],
    ),
    "redirected": row(
        (platform(302, redirect_to="https://elsewhere.example/orders"),),
        NOTHING,
        PipesCloudFunctionCallError,
        ["HTTP 302", "a redirect to https://elsewhere.example/orders", "not followed"],
        retryable=False,
    ),
    # the runtime refused the call
    "refused": row(
        (BAD_REQUEST,),
        NOTHING,
        PipesCloudFunctionRefusedError,
        ["refused", "400 bad_request", "DAGSTER_PIPES_CONTEXT"],
        retryable=False,
    ),
    "refused, because the storage is unavailable": row(
        (UNAVAILABLE,), NOTHING, PipesCloudFunctionRefusedError, ["503 storage_unavailable", "Cannot create 1.json"]
    ),
    "the end of a refusal's text is shown: it says what to do": row(
        (replace(BAD_REQUEST, body=f"{'why, ' * 300}and what to do"),),
        NOTHING,
        PipesCloudFunctionRefusedError,
        ["and what to do"],
        retryable=False,
    ),
    # it was not sent
    "no connection": row(
        (REFUSED_CONNECTION, REFUSED_CONNECTION),
        NOTHING,
        PipesCloudFunctionCallError,
        ["Could not connect to the function: 127.0.0.1:8080 refused the connection.", "\nFix: Start it."],
    ),
    "no trust": row((UNTRUSTED,), NOTHING, PipesCloudFunctionCallError, ["REQUESTS_CA_BUNDLE"], retryable=False),
    **{
        f"no ID token, {passing}": row(
            (no_token(allow_retries=passing),),
            NOTHING,
            PipesCloudFunctionIdentityError,
            ["nobody is logged in"],
            retryable=passing,
        )
        for passing in (True, False)
    },
    **{
        f"{status}, and the caller cannot create an ID token": row(
            (platform(status, caller=CallerIdentity("the user", needs_token=True)),),
            NOTHING,
            PipesCloudFunctionIdentityError,
            [
                f"HTTP {status}: the function requires an ID token, and the user cannot create one.",
                f"\nFix: {CREDENTIALS_FIX}",
            ],
            retryable=False,
        )
        for status in (401, 403)
    },
    **{
        f"{status}, {name}": row((platform(status, caller=caller),), NOTHING, PipesCloudFunctionAccessError, [], False)
        for status, name, caller in (
            (403, "and the URL needs no ID token", CallerIdentity(needs_token=False)),
            (403, "and the session authenticates by itself", CallerIdentity()),
            (404, "and the caller cannot create an ID token", CallerIdentity("the user", needs_token=True)),
        )
    },
    # neither the messages nor a response say how it ended
    **{
        f"{status} {body!r} before the function's code ran": row(
            (platform(status, body),),
            NOTHING,
            PipesCloudFunctionCallError,
            [f"got HTTP {status}", "opened no Pipes session", fact],
        )
        for status, body, fact in (
            (429, "", "\nFix: Raise `--max-instances`"),
            (500, NO_INSTANCE, "\nFix: Raise `--max-instances`"),
            (503, NO_INSTANCE, "\nFix: Raise `--max-instances`"),
            (503, "malformed response", "The instance crashed before your code ran"),
            (504, "upstream request timeout", "set THREADS in the function's environment"),
        )
    },
    "lost, not opened": row(
        (RESET,),
        NOTHING,
        PipesCloudFunctionCallError,
        ["got no response (the connection broke)", "opened no Pipes session"],
    ),
    **{
        f"{attempt.answered_by.name} {attempt.status}, opened, not closed: {name}": row(
            (attempt,),
            session,
            PipesCloudFunctionCallError,
            [attempt.summary, "3 messages in 1 chunk arrived", "did not close", *facts],
        )
        for attempt in (RESET, DUPLICATE, platform(502), platform(503), platform(504))
        for name, session, facts in (
            ("until the deadline", OPENED, []),
            ("silent", SILENT, ["no sign of life for 31 s"]),
        )
    },
}


def errors_of(
    attempts: tuple[Attempt, ...], session: SessionRecord, cause: Cause | None = None
) -> PipesCloudFunctionError:
    error = judge(CallRecord(attempts, None, 1.0), session, cause=cause)
    assert error is not None
    return error


@pytest.mark.parametrize(("attempts", "session"), SUCCESSES)
def test_succeeds(attempts: tuple[Attempt, ...], session: SessionRecord) -> None:
    call = CallRecord(attempts, None, 1.0)
    assert succeeded(call, session)
    assert judge(call, session) is None


@pytest.mark.parametrize(("attempts", "session", "error_class", "facts", "retryable"), ROWS.values(), ids=ROWS.keys())
def test_fails_with_the_error_of_its_row(
    attempts: tuple[Attempt, ...],
    session: SessionRecord,
    error_class: type[PipesCloudFunctionError],
    facts: list[str],
    *,
    retryable: bool,
) -> None:
    error = errors_of(attempts, session)
    assert type(error) is error_class
    assert error.allow_retries is retryable
    assert [fact for fact in facts if fact not in str(error.description)] == []


def test_the_metadata_has_the_traceback_causes_first() -> None:
    exception = raised(
        "ValueError: boom\n", stack=("  in main\n",), cause=raised("KeyError: 'id'\n", stack=("  in f\n",))
    )
    error = errors_of((function(500),), replace(COMPLETE, exception=exception))
    assert error.metadata["cloud_function/traceback"] == MetadataValue.md(
        "```\n  in f\nKeyError: 'id'\n\n  in main\nValueError: boom\n```"
    )


def test_the_traceback_has_the_context_if_there_is_no_cause() -> None:
    exception = {**raised("ValueError: boom"), "context": raised("KeyError: 'id'")}
    error = errors_of((OK,), replace(COMPLETE, exception=exception))  # type: ignore[arg-type]
    assert error.metadata["cloud_function/traceback"] == MetadataValue.md("```\nKeyError: 'id'\nValueError: boom\n```")


def test_an_error_of_the_reader_is_the_cause() -> None:
    assert errors_of((OK,), UNREADABLE).__cause__ is UNREADABLE.failure


def test_an_error_is_bounded_in_size() -> None:
    long = raised("ValueError: " + "x" * 5_000_000, stack=("y" * 5_000_000,))
    errors = [
        errors_of((platform(500, "x" * 100_000),), NOTHING),
        errors_of((function(500),), replace(COMPLETE, exception=long)),
    ]
    assert [len(str(error.description)) < 5_000 for error in errors] == [True, True]
    assert len(str(errors[1].metadata["cloud_function/traceback"].value)) < 100_000


NO_TOKEN = PipesCloudFunctionIdentityError("Expected X.\nFix: Do Y.")


@pytest.mark.parametrize(
    ("attempts", "session"),
    [
        ((UNAVAILABLE, replace(BAD_REQUEST, body="Expected X.\nFix: Do Y.")), NOTHING),
        ((RESET, replace(no_token(allow_retries=False), identity_error=NO_TOKEN)), NOTHING),
        ((RESET, replace(function(500, "Expected X.\nFix: Do Y."), chunk_count=1)), OPENED),
        ((RESET, platform(429, "Expected X.\nFix: Do Y.")), NOTHING),
    ],
)
def test_what_to_do_is_said_once_and_at_the_end(attempts: tuple[Attempt, ...], session: SessionRecord) -> None:
    text = str(errors_of(attempts, session).description)
    assert text.count("Fix:") == 1
    assert "Before that: attempt 1" in text.partition("\nFix:")[0]


@pytest.mark.parametrize(
    "page",
    [
        "<html><style>p {}</style><p>No\nentry</html>",
        "<p>No <b>entry</b></p><script>steal()",
        "<p>No entry<style>p {} " + "<script>" * 5_000,
        "<p>No entry" + "<" * 5_000,
    ],
    ids=["complete", "open script", "open style", "open tags"],
)
def test_of_a_page_only_the_text_is_shown(page: str) -> None:
    """Also of one whose parts stay open."""
    assert str(errors_of((platform(500, page),), NOTHING).description).endswith("The response says: No entry")


def test_an_empty_body_is_called_empty() -> None:
    assert "The response is empty." in str(errors_of((platform(500, " \n"),), NOTHING).description)


@pytest.mark.parametrize(
    ("name", "attempt", "session"),
    [
        ("last_chunk_missing", OK, OPENED),
        ("lost_while_it_ran", RESET, OPENED),
        ("redirected_without_a_target", platform(302), NOTHING),
        ("crashed_before_it_opened", platform(503, INSTANCE_DIED.body.decode()), NOTHING),
        ("refused_after_it_opened", UNAVAILABLE, OPENED),
        ("status_of_an_after_request_hook", function(500, "the after_request hook failed"), COMPLETE),
    ],
)
def test_the_error_of_a_rare_end_is_quoted(name: str, attempt: Attempt, session: SessionRecord, quote: Quote) -> None:
    quote(name, str(errors_of((attempt,), session).description))


def test_the_error_of_a_call_that_may_start_later_is_quoted(quote: Quote) -> None:
    error = judge(CallRecord((RESET,), None, 1.0, claim=Claim.UNKNOWN), NOTHING)
    quote("lost_before_it_opened", str(error))


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        (Claim.OURS, "Your code has not run. It will not run for this call"),
        (Claim.UNKNOWN, "Nobody knows whether it has started, or will start."),
    ],
)
def test_an_error_says_whether_the_function_may_start_later(claim: Claim, text: str) -> None:
    error = judge(CallRecord((RESET,), None, 1.0, claim=claim), NOTHING)
    assert error is not None
    assert text in str(error.description)


def test_a_crash_is_described_by_the_attempt_that_met_it() -> None:
    call = CallRecord((platform(503), DUPLICATE), None, 1.0)
    error = judge(call, OPENED)
    assert error is not None
    assert "The call got HTTP 503" in str(error.description)
    assert "The instance crashed, most often because it ran out of memory" in str(error.description)
    assert needs_log_tail(call, OPENED)


def test_the_platforms_log_gives_the_cause_of_a_crash() -> None:
    cause = Cause("It ran out of memory (Memory limit of 256 MiB exceeded).", "Deploy it with more.")
    description = str(errors_of((platform(503),), OPENED, cause).description)
    assert "did not close its Pipes session. It ran out of memory (Memory limit of" in description
    assert description.endswith("\nFix: Deploy it with more.")


@pytest.mark.parametrize(
    ("attempts", "session", "running"),
    [
        ((RESET,), NOTHING, True),
        ((RESET,), OPENED, True),
        ((RESET,), SILENT, True),
        ((RESET, platform(403)), NOTHING, True),
        ((RESET, UNAVAILABLE), NOTHING, True),
        ((RESET, REFUSED_CONNECTION), NOTHING, True),
        ((RESET,), UNREADABLE, True),
        ((RESET,), RAISED, False),
        ((function(500),), UNREADABLE, False),
        ((platform(200),), PLAIN_OPENED, False),
        ((platform(403),), NOTHING, False),
        ((platform(302),), NOTHING, False),
        ((REFUSED_CONNECTION,), NOTHING, False),
        ((BAD_REQUEST,), NOTHING, False),
        ((no_token(allow_retries=True),), NOTHING, False),
    ],
)
def test_a_function_is_told_to_stop_only_if_it_may_run(
    attempts: tuple[Attempt, ...], session: SessionRecord, running: bool
) -> None:
    assert may_still_run(CallRecord(attempts, None, 1.0), session) is running


@pytest.mark.parametrize(
    ("attempt", "session", "needed"),
    [
        (platform(503), OPENED, True),
        (platform(500), NOTHING, True),
        (RESET, OPENED, True),
        (DUPLICATE, SILENT, True),
        (REFUSED_CONNECTION, NOTHING, False),
        (platform(503), PLAIN_COMPLETE, False),
        (platform(403), NOTHING, False),
        (platform(429), NOTHING, False),
        (UNAVAILABLE, NOTHING, False),
        (RESET, UNREADABLE, False),
    ],
)
def test_the_logs_are_read_only_after_an_unexplained_end(
    attempt: Attempt, session: SessionRecord, needed: bool
) -> None:
    assert needs_log_tail(CallRecord((attempt,), None, 1.0), session) is needed


statuses = st.sampled_from([200, 204, 302, 400, 401, 403, 404, 409, 418, 429, 500, 502, 503, 504])
attempts_of_any_kind = st.one_of(
    st.builds(Attempt, st.just(AnsweredBy.FUNCTION), status=statuses, chunk_count=st.integers(0, 3)),
    st.builds(Attempt, st.just(AnsweredBy.PLATFORM), status=statuses, body=st.text()),
    st.sampled_from([RESET, DUPLICATE, BAD_REQUEST, UNAVAILABLE, REFUSED_CONNECTION, UNTRUSTED]),
)
sessions = st.builds(
    SessionRecord,
    opened=st.booleans(),
    opened_extras=st.sampled_from([{}, {"closes_with_request": True}]),
    closed=st.booleans(),
    exception=st.none() | st.just(raised("ValueError: boom")),
    chunk_count=st.integers(0, 3),
    message_count=st.integers(0, 3),
    missing_chunks=st.sampled_from([(), (2,)]),
    silent_for=st.sampled_from([0.0, 31.0]),
    failure=st.none() | st.builds(ValueError, st.text()),
)


@given(st.lists(attempts_of_any_kind, min_size=1, max_size=4).map(tuple), sessions)
def test_only_a_session_closed_without_an_exception_succeeds(
    attempts: tuple[Attempt, ...], session: SessionRecord
) -> None:
    last = attempts[-1]
    call = CallRecord(attempts, None, 1.0)
    if judge(call, session) is None:
        assert session.opened
        assert session.closed
        assert session.exception is None
        assert session.failure is None
        assert session.missing_chunks == ()
        assert last.answered_by is not AnsweredBy.FUNCTION or last.status in {200, 204}
        assert session.closes_with_request or call.is_plain_success


@given(st.lists(attempts_of_any_kind, min_size=1, max_size=4).map(tuple), sessions)
def test_every_call_that_does_not_succeed_has_an_error(attempts: tuple[Attempt, ...], session: SessionRecord) -> None:
    error = judge(CallRecord(attempts, None, 1.0), session)
    assert (error is None) == succeeded(CallRecord(attempts, None, 1.0), session)
    assert error is None or isinstance(error, Failure)
