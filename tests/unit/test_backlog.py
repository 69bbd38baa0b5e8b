"""When the reader is behind, by arithmetic."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_gcf_pipes._messages.backlog import BEHIND_AFTER, Backlog

SHORT, LONG = BEHIND_AFTER / 4, BEHIND_AFTER * 2


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """A reader that handles chunks and pauses for as long as a test says."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.backlog = Backlog(self._clock)

    def handle(self, seconds: float) -> bool:
        """Find and handle a chunk; return whether the reader is behind at its end."""
        self.backlog.chunk_found()
        self._clock.now += seconds
        return self.backlog.is_behind

    def pause(self, seconds: float) -> None:
        """Find no chunk for some time, at several polls."""
        for _ in range(2):
            self.backlog.none_found()
            self._clock.now += seconds / 2


def test_a_reader_without_a_chunk_is_not_behind() -> None:
    reader = Reader()
    reader.pause(LONG)
    assert not reader.backlog.is_behind


@pytest.mark.parametrize(("seconds", "is_behind"), [([SHORT], False), ([LONG], True), ([SHORT] * 5, True)])
def test_a_reader_is_behind_after_some_time_without_a_pause(seconds: list[float], is_behind: bool) -> None:
    reader = Reader()
    assert [reader.handle(each) for each in seconds][-1] == is_behind


@given(st.lists(st.floats(0, BEHIND_AFTER / 2), max_size=50))
def test_a_reader_that_pauses_after_each_short_chunk_is_never_behind(seconds: list[float]) -> None:
    """So a line each half second, or a few lines at a time, stays untouched."""
    reader = Reader()
    for each in seconds:
        assert not reader.handle(each)
        reader.pause(0.05)


def test_a_reader_that_was_behind_stays_so_while_the_function_goes_on() -> None:
    reader = Reader()
    reader.handle(LONG)
    for _ in range(10):
        reader.pause(SHORT)
        assert reader.handle(0.0)


def test_a_reader_that_was_behind_no_longer_is_after_a_long_pause() -> None:
    reader = Reader()
    reader.handle(LONG)
    reader.pause(LONG)
    assert not reader.handle(SHORT)


def test_a_reader_that_was_not_behind_is_not_after_a_short_pause() -> None:
    reader = Reader()
    reader.handle(SHORT)
    reader.pause(SHORT)
    assert not reader.handle(SHORT)
