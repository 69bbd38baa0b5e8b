"""How many calls may be in flight, on a clock of the test's own."""

import pytest

from dagster_gcf_pipes._pace import DOUBLING_TIME, FIRST_LIMIT, KNOWN_GOOD, MAX_PAUSE, Pace


def test_the_limit_starts_at_fifty_and_doubles_while_the_platform_takes_every_call() -> None:
    pace = Pace(1000, 0.0)
    limits = [pace.limit(number * DOUBLING_TIME) for number in range(6)]
    assert limits == [FIRST_LIMIT, 100, 200, 400, 800, 1000]


@pytest.mark.parametrize("most", [1, 7, FIRST_LIMIT])
def test_the_limit_never_exceeds_what_the_user_allows(most: int) -> None:
    pace = Pace(most, 0.0)
    assert {pace.limit(second) for second in range(100)} == {most}


def test_a_refusal_pauses_the_starts_and_halves_the_limit() -> None:
    pace = Pace(1000, 0.0)
    pace.limit(1.0)
    pace.refused(0.9, 100, 1.0)
    assert pace.limit(1.0) == 0
    after_pause = pace.limit(1.0 + MAX_PAUSE)
    assert 50 <= after_pause <= KNOWN_GOOD * 100
    assert (pace.refusals, pace.allowed) == (1, 100)


def test_the_limit_grows_back_quickly_and_then_slowly() -> None:
    pace = Pace(1000, 0.0)
    pace.refused(0.0, 100, 1.0)
    assert pace.limit(3.0) == pytest.approx(KNOWN_GOOD * 100, abs=5)
    assert pace.limit(13.0) < 125
    assert pace.limit(100.0) > 200


def test_calls_that_were_made_before_the_refusal_do_not_halve_the_limit_again() -> None:
    pace = Pace(1000, 0.0)
    pace.limit(1.0)
    for running in range(199, 99, -1):  # the platform runs 100 of 200 calls
        pace.refused(0.9, running, 1.0)
    assert (pace.refusals, pace.allowed) == (100, 100)
    assert 50 <= pace.limit(1.0 + MAX_PAUSE) <= 200


def test_refusals_alone_leave_one_call_at_a_time() -> None:
    pace = Pace(1000, 0.0)
    for second in range(1, 20):
        pace.refused(second - 0.01, 0, second)
        assert pace.limit(second + MAX_PAUSE) >= 1
    assert pace.allowed == 1
