"""What `opened` tells of an execution is taken only if it can be true."""

import pytest

from dagster_gcf_pipes._opened_extras import read_opened_extras


def test_facts_of_the_right_types_are_taken() -> None:
    facts = {"service": "orders", "cold_start": True, "trace_id": "a" * 32}
    assert read_opened_extras(facts) == facts


@pytest.mark.parametrize(
    "extras",
    [None, "none", [], {}, {"service": 7}, {"cold_start": "yes"}, {"revision": "r" * 257}, {"unknown": "fact"}],
)
def test_anything_else_is_passed_over(extras: object) -> None:
    assert read_opened_extras(extras) == {}
