"""The facts of an execution in `opened` are validated."""

import math

import pytest

from dagster_gcf_pipes._messages.parser import read_opened_extras


def test_facts_of_the_right_types_are_kept() -> None:
    facts = {"service": "orders", "cold_start": True, "trace_id": "a" * 32, "heartbeat_interval": 10.0}
    assert read_opened_extras(facts) == facts


def test_a_whole_number_of_seconds_is_a_number_of_seconds() -> None:
    assert read_opened_extras({"heartbeat_interval": 10}) == {"heartbeat_interval": 10}


@pytest.mark.parametrize(
    "extras",
    [
        None,
        "none",
        [],
        {},
        {"service": 7},
        {"cold_start": "yes"},
        {"revision": "r" * 257},
        {"unknown": "fact"},
        *({"heartbeat_interval": number} for number in (0, -1.0, 3601, 10**400, math.inf, math.nan, True, "10")),
    ],
)
def test_invalid_facts_are_ignored(extras: object) -> None:
    assert read_opened_extras(extras) == {}
