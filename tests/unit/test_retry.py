"""What follows a call that ended: nothing, another attempt, or the reading of a run whose call was lost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_gcf_pipes import PipesCloudFunctionIdentityError
from dagster_gcf_pipes._retry import DEFAULT_RETRY_ON, NextStep, RetryPolicy, next_step
from dagster_gcf_pipes._verdict import CallRecord

LOST = CallRecord(lost="ConnectionError: reset")
NO_CONNECTION = CallRecord(lost="ConnectionError: refused", sent=False)
NO_INSTANCE = CallRecord(status=429, body="The request was aborted because there was no available instance.")
DUPLICATE = CallRecord(status=409, error_code="duplicate_call")
POLICY = RetryPolicy(frozenset(DEFAULT_RETRY_ON), max_attempts=4, initial_delay=2.0, max_delay=30.0, timeout=120.0)


def no_token(*, allow_retries: bool) -> CallRecord:
    error = PipesCloudFunctionIdentityError("no ID token", allow_retries=allow_retries)
    return CallRecord(lost="no ID token", sent=False, identity_error=error)


FINISH, RETRY, FOLLOW = NextStep.FINISH, NextStep.RETRY, NextStep.FOLLOW


@pytest.mark.parametrize(
    ("call", "if_not_opened", "if_opened"),
    [
        pytest.param(CallRecord(status=200, chunk_count=2), FINISH, FINISH, id="2xx"),
        pytest.param(CallRecord(status=302), FINISH, FINISH, id="a redirect"),
        *(pytest.param(CallRecord(status=code), FINISH, FINISH, id=str(code)) for code in (400, 401, 403, 404)),
        pytest.param(NO_INSTANCE, RETRY, FINISH, id="429"),
        pytest.param(CallRecord(status=500), RETRY, FINISH, id="500"),
        *(pytest.param(CallRecord(status=code), RETRY, FOLLOW, id=str(code)) for code in (502, 503, 504)),
        pytest.param(NO_CONNECTION, RETRY, FOLLOW, id="no connection"),
        pytest.param(LOST, RETRY, FOLLOW, id="lost on the way"),
        pytest.param(DUPLICATE, FOLLOW, FOLLOW, id="claimed by another delivery"),
        pytest.param(CallRecord(status=400, error_code="bad_request"), FINISH, FINISH, id="refused"),
        pytest.param(CallRecord(status=500, error_code="storage_forbidden"), FINISH, FINISH, id="refused for good"),
        pytest.param(CallRecord(status=503, error_code="storage_unavailable"), RETRY, FINISH, id="refused for now"),
        pytest.param(CallRecord(status=409), FINISH, FINISH, id="the function's own 409"),
        pytest.param(no_token(allow_retries=True), RETRY, FOLLOW, id="no ID token for now"),
        pytest.param(no_token(allow_retries=False), FINISH, FOLLOW, id="no ID token"),
    ],
)
def test_next_step(call: CallRecord, if_not_opened: NextStep, if_opened: NextStep) -> None:
    steps = (next_step(call, POLICY, opened=False), next_step(call, POLICY, opened=True))
    assert steps == (if_not_opened, if_opened)


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
    statuses = [200, 404, 429, 500, 502, 503, None]
    assert [status for status in statuses if policy.covers(CallRecord(status=status))] == retried


@given(st.integers(min_value=2, max_value=100))
def test_delays_double_up_to_the_longest_and_half_of_them_is_random(attempt: int) -> None:
    longest = min(2.0 * 2 ** (attempt - 2), 30.0)
    assert longest / 2 <= POLICY.delay_before(attempt) <= longest


@pytest.mark.parametrize(
    ("attempt", "elapsed", "allowed"), [(2, 0, True), (4, 119, True), (4, 121, False), (5, 0, False)]
)
def test_attempts_are_bounded_in_number_and_time(attempt: int, elapsed: float, allowed: bool) -> None:
    assert POLICY.allows(attempt, elapsed) is allowed
