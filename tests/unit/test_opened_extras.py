"""The facts of an execution in `opened`, and the figures in `closed`, are validated."""

import json
import math
from typing import Any

import pytest

from dagster_gcf_pipes._messages.parser import read_opened_extras, read_usage


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
        *({"memory_limit_bytes": number} for number in (0, -1, 1.5, 2**50, math.nan, True, "512")),
        *({"cpus": number} for number in (0, -1, 10**6, 10**400, math.inf, math.nan, True, "1", None)),
    ],
)
def test_invalid_facts_are_ignored(extras: object) -> None:
    assert read_opened_extras(extras) == {}


FIGURES = {"wall_seconds": 1.5, "cpu_seconds": 0.2, "peak_memory_bytes": 300 * 1024**2, "shared": True}


def test_figures_of_the_right_types_are_kept() -> None:
    assert read_usage({**FIGURES, "of_a_later_version": 7}) == FIGURES
    assert read_usage({"wall_seconds": 0, "cpu_seconds": 0.0}) == {"wall_seconds": 0, "cpu_seconds": 0.0}


@pytest.mark.parametrize("name", ["wall_seconds", "cpu_seconds", "peak_memory_bytes"])
@pytest.mark.parametrize(
    "value", ["-1", "-0.001", "1e400", "NaN", "-Infinity", "true", '"5"', "null", "[1]", "{}", "9" * 999]
)
def test_an_invalid_figure_is_ignored(name: str, value: str) -> None:
    assert read_usage({**FIGURES, name: json.loads(value)}) == {key: FIGURES[key] for key in FIGURES if key != name}


@pytest.mark.parametrize(
    "usage", [None, 5, "usage", [], [["wall_seconds", 1]], {"shared": 1}, {"peak_memory_bytes": 1.5}]
)
def test_what_has_no_valid_figure_has_none(usage: Any) -> None:
    assert read_usage(usage) == {}
