"""How often the reader polls, by arithmetic."""

from collections.abc import Iterator
from itertools import pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_gcf_pipes._messages.chunk_stream import FIRST_DELAY, delay_before_next_poll
from dagster_gcf_pipes._messages.reader import DEFAULT_POLL_INTERVAL

ROUNDING = 1e-9

idle_times = st.floats(min_value=0, max_value=7200)
poll_intervals = st.floats(min_value=0.001, max_value=600)
slow_poll_intervals = st.floats(min_value=FIRST_DELAY, max_value=600)


def polls(poll_interval: float) -> Iterator[float]:
    """The times of the polls since the last chunk, if each finds nothing."""
    idle = 0.0
    while True:
        yield idle
        idle += delay_before_next_poll(idle, poll_interval)


@given(idle=idle_times, poll_interval=poll_intervals)
def test_delay_is_never_longer_than_the_poll_interval(idle: float, poll_interval: float) -> None:
    assert 0 < delay_before_next_poll(idle, poll_interval) <= poll_interval


@given(idle=idle_times, poll_interval=slow_poll_intervals)
def test_delay_is_never_shorter_than_the_first(idle: float, poll_interval: float) -> None:
    assert delay_before_next_poll(idle, poll_interval) >= FIRST_DELAY


@given(idle=idle_times)
def test_poll_interval_below_the_first_delay_is_the_delay(idle: float) -> None:
    assert delay_before_next_poll(idle, FIRST_DELAY / 2) == FIRST_DELAY / 2


@given(st.tuples(idle_times, idle_times).map(sorted), poll_intervals)
def test_delay_does_not_shrink_while_nothing_comes(idle: list[float], poll_interval: float) -> None:
    sooner, later = (delay_before_next_poll(time, poll_interval) for time in idle)
    assert sooner <= later


def test_right_after_a_chunk_the_delay_is_the_first() -> None:
    assert delay_before_next_poll(0.0, DEFAULT_POLL_INTERVAL) == FIRST_DELAY


def test_after_a_long_silence_the_delay_is_the_poll_interval() -> None:
    assert delay_before_next_poll(3600.0, DEFAULT_POLL_INTERVAL) == DEFAULT_POLL_INTERVAL


def test_idle_minute_costs_at_most_60_polls() -> None:
    assert len(list(takewhile(lambda time: time <= 60, polls(DEFAULT_POLL_INTERVAL)))) <= 60


@pytest.mark.parametrize("minute", [1, 10, 59])
def test_later_idle_minute_costs_at_most_40_polls(minute: int) -> None:
    times = takewhile(lambda time: time < 60 * (minute + 1), polls(DEFAULT_POLL_INTERVAL))
    assert len([time for time in times if time >= 60 * minute]) <= 40


@given(waiting=st.floats(min_value=0, max_value=600), poll_interval=slow_poll_intervals)
def test_chunk_is_found_at_most_a_third_of_its_waiting_time_late(waiting: float, poll_interval: float) -> None:
    """The waiting time is the time since the chunk before; the bounds are the first delay and the poll interval."""
    found = next(after for before, after in pairwise(polls(poll_interval)) if before <= waiting < after)
    late = found - waiting
    assert late <= min(max(found / 3, FIRST_DELAY), poll_interval) + ROUNDING
