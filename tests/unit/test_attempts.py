"""The next step after an attempt of a call: none, a retry, or reading messages until `closed`."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_gcf_pipes import PipesCloudFunctionIdentityError
from dagster_gcf_pipes._attempts import DEFAULT_RETRY_ON, CallRecord, NextStep, RetryPolicy, next_step
from dagster_gcf_pipes._http import AnsweredBy, Attempt
from dagster_gcf_pipes._messages.record import SessionRecord

POLICY = RetryPolicy(frozenset(DEFAULT_RETRY_ON), max_attempts=4, initial_delay=2.0, max_delay=30.0, timeout=120.0)

RESET = Attempt(AnsweredBy.NOBODY, error="the connection broke")
REFUSED_CONNECTION = Attempt(AnsweredBy.NOT_SENT, error="refused the connection")
UNTRUSTED = Attempt(AnsweredBy.NOT_SENT, error="the certificate is not trusted", retryable=False)
DUPLICATE = Attempt(AnsweredBy.DUPLICATE, status=409, error_code="duplicate_call")
BAD_REQUEST = Attempt(AnsweredBy.REFUSAL, status=400, error_code="bad_request")
STORAGE_FORBIDDEN = Attempt(AnsweredBy.REFUSAL, status=500, error_code="storage_forbidden")
STORAGE_UNAVAILABLE = Attempt(AnsweredBy.REFUSAL, status=503, error_code="storage_unavailable")

NOT_OPENED = SessionRecord()
OPENED = SessionRecord(opened=True, opened_extras={"closes_with_request": True})
OPENED_PLAINLY = SessionRecord(opened=True)

FINISH, RETRY, WAIT = NextStep.DONE, NextStep.RETRY, NextStep.WAIT_FOR_CLOSE


def platform(status: int) -> Attempt:
    return Attempt(AnsweredBy.PLATFORM, status=status)


def function(status: int) -> Attempt:
    return Attempt(AnsweredBy.FUNCTION, status=status, chunk_count=2)


def no_token(*, allow_retries: bool) -> Attempt:
    error = PipesCloudFunctionIdentityError("no ID token", allow_retries=allow_retries)
    return Attempt(AnsweredBy.NOT_SENT, error="no ID token", identity_error=error)


@pytest.mark.parametrize(
    ("attempt", "not_opened", "opened", "opened_plainly"),
    [
        *(
            pytest.param(function(status), FINISH, FINISH, FINISH, id=f"{status} of the function itself")
            for status in (200, 204, 302, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504)
        ),
        pytest.param(DUPLICATE, WAIT, WAIT, WAIT, id="claimed by another delivery"),
        pytest.param(BAD_REQUEST, FINISH, WAIT, FINISH, id="refused"),
        pytest.param(STORAGE_FORBIDDEN, FINISH, WAIT, FINISH, id="refused for good"),
        pytest.param(STORAGE_UNAVAILABLE, RETRY, WAIT, WAIT, id="refused for now"),
        pytest.param(platform(200), FINISH, WAIT, FINISH, id="2xx without our runtime"),
        *(
            pytest.param(platform(status), FINISH, WAIT, FINISH, id=f"{status} of the platform")
            for status in (302, 400, 401, 403, 404)
        ),
        pytest.param(platform(429), RETRY, WAIT, FINISH, id="429 of the platform"),
        pytest.param(platform(500), RETRY, WAIT, FINISH, id="500 of the platform"),
        *(pytest.param(platform(code), RETRY, WAIT, WAIT, id=f"{code} of the platform") for code in (502, 503, 504)),
        pytest.param(RESET, RETRY, WAIT, WAIT, id="no response"),
        pytest.param(REFUSED_CONNECTION, RETRY, WAIT, WAIT, id="not sent"),
        pytest.param(UNTRUSTED, FINISH, WAIT, WAIT, id="not sent, and never will be"),
        pytest.param(no_token(allow_retries=True), RETRY, WAIT, WAIT, id="no ID token for now"),
        pytest.param(no_token(allow_retries=False), FINISH, WAIT, WAIT, id="no ID token"),
    ],
)
def test_next_step(attempt: Attempt, not_opened: NextStep, opened: NextStep, opened_plainly: NextStep) -> None:
    sessions = (NOT_OPENED, OPENED, OPENED_PLAINLY)
    steps = tuple(next_step((attempt,), session, POLICY) for session in sessions)
    assert steps == (not_opened, opened, opened_plainly)


LOST_FIRST = (RESET, platform(500), platform(503), platform(504), platform(429))
LAST = (platform(429), platform(500), platform(403), platform(404), STORAGE_UNAVAILABLE, REFUSED_CONNECTION, DUPLICATE)


@pytest.mark.parametrize(("first", "last"), [*product(LOST_FIRST, LAST)], ids=lambda attempt: attempt.summary)
def test_a_function_started_by_an_earlier_attempt_is_waited_for(first: Attempt, last: Attempt) -> None:
    for session in (OPENED, OPENED_PLAINLY):
        assert next_step((first, last), session, POLICY) is WAIT


@given(st.lists(st.sampled_from([*LOST_FIRST, *LAST, BAD_REQUEST, UNTRUSTED]), max_size=3))
def test_a_response_of_the_function_s_runtime_ends_every_call(earlier: list[Attempt]) -> None:
    for session, status in product((NOT_OPENED, OPENED, OPENED_PLAINLY), (200, 429, 500, 503)):
        assert next_step((*earlier, function(status)), session, POLICY) is FINISH


def test_a_session_that_cannot_be_read_is_not_waited_for() -> None:
    assert next_step((RESET,), replace(OPENED, failure=ValueError("unreadable")), POLICY) is FINISH


@pytest.mark.parametrize(
    ("retry_on", "retried"),
    [
        (["429"], [429]),
        (["5xx"], [500, 502, 503]),
        (["502", "no_response"], [502, None]),
        (["404"], [404]),
        ([], []),
    ],
)
def test_only_the_outcomes_that_the_policy_names_are_retried(retry_on: list[str], retried: list[int | None]) -> None:
    policy = replace(POLICY, retry_on=frozenset(retry_on))
    attempts = [*(platform(status) for status in (200, 404, 429, 500, 502, 503)), RESET]
    assert [attempt.status for attempt in attempts if policy.is_retryable(attempt)] == retried


def test_a_policy_that_retries_nothing_retries_no_missing_token() -> None:
    policy = replace(POLICY, retry_on=frozenset())
    assert not policy.is_retryable(no_token(allow_retries=True))


@pytest.mark.parametrize("session", [NOT_OPENED, OPENED, OPENED_PLAINLY])
def test_a_2xx_of_somebody_else_after_a_lost_attempt_is_no_success(
    session: SessionRecord,
) -> None:
    lost, alone = (RESET, platform(200)), (REFUSED_CONNECTION, platform(200))
    assert next_step(lost, session, POLICY) is (WAIT if session.opened else FINISH)
    assert (CallRecord(lost, None, 1.0).is_plain_success, CallRecord(alone, None, 1.0).is_plain_success) == (
        False,
        True,
    )


@given(st.integers(min_value=2, max_value=100))
def test_delays_double_up_to_the_longest_and_half_of_them_is_random(attempt: int) -> None:
    longest = min(2.0 * 2 ** (attempt - 2), 30.0)
    assert longest / 2 <= POLICY.delay_before(attempt) <= longest


@pytest.mark.parametrize(
    ("attempt", "elapsed", "allowed"), [(2, 0, True), (4, 119, True), (4, 121, False), (5, 0, False)]
)
def test_attempts_are_bounded_in_number_and_time(attempt: int, elapsed: float, allowed: bool) -> None:
    assert POLICY.has_budget(attempt, elapsed) is allowed


@pytest.mark.parametrize(
    ("attempts", "count"),
    [
        ((function(200),), 2),
        ((RESET, function(500)), 2),
        ((REFUSED_CONNECTION, REFUSED_CONNECTION), 0),
        ((BAD_REQUEST,), 0),
        ((RESET, BAD_REQUEST), None),
        ((RESET, REFUSED_CONNECTION), None),
        ((platform(403),), None),
        ((DUPLICATE,), None),
    ],
)
def test_chunk_count_is_that_of_the_function_or_0_if_not_started(
    attempts: tuple[Attempt, ...], count: int | None
) -> None:
    assert CallRecord(attempts, None, 1.0).chunk_count == count
