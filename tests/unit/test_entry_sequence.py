"""The entries of a session are put in order, in little memory."""

import pytest

from dagster_gcf_pipes._messages.entry_api import Entry
from dagster_gcf_pipes._messages.entry_sequence import EntrySequence, RanTwiceError


def entry(number: int, data: str = "x" * 100, delivery: str = "a") -> Entry:
    return Entry("session", delivery, number, data)


def test_a_full_sequence_keeps_only_what_others_wait_for() -> None:
    sequence = EntrySequence(1000)
    assert [sequence.add(entry(number)) for number in range(2, 10)] == [True] * 4 + [False] * 4
    assert (sequence.is_full, sequence.is_stuck, sequence.first_missing, sequence.last) == (True, True, 1, 9)
    assert sequence.add(entry(1))
    assert (sequence.first_missing, sequence.add(entry(6))) == (6, False)  # until the others are taken
    assert len(sequence.take()) == 500
    assert sequence.add(entry(6))


def test_each_entry_counts_once() -> None:
    sequence = EntrySequence(1000)
    assert [sequence.add(entry(number)) for number in (2, 2, 1, 1)] == [True, False, True, False]
    assert (len(sequence.take()), sequence.next, sequence.take()) == (200, 3, "")
    assert not sequence.add(entry(2))


@pytest.mark.parametrize("other", [entry(1, delivery="b"), entry(1, data="y"), entry(7, delivery="b")])
def test_another_delivery_is_found_out_after_its_number_was_taken(other: Entry) -> None:
    sequence = EntrySequence(1000)
    sequence.add(entry(1))
    sequence.take()
    with pytest.raises(RanTwiceError):
        sequence.add(other)


def test_the_missing_ones_are_named() -> None:
    sequence = EntrySequence(1000)
    sequence.add(entry(2))
    assert (sequence.missing_until(5, most=10), sequence.missing_until(10**9, most=2)) == ((1, 3, 4, 5), (1, 3))
