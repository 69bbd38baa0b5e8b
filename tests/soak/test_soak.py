"""A few seconds of the soak, and what it would count if something went wrong."""

from typing import Any

import pytest

from tests.functions.record import Record
from tests.soak.runs import Result, Task
from tests.soak.soak import AT_ONCE, soak
from tests.soak.summary import MUST_BE_ZERO, Summary, judge

TASK = Task("http://function", "http://storage", "bucket", "key", count=2)
RAISING = Task("http://function", "http://storage", "bucket", "key", count=2, raises=True)
RETURNED: Record = {"started": 1, "ended": 1, "raised": 0, "lines": ["line 0", "line 1"]}
RAISED: Record = {"started": 1, "ended": 0, "raised": 1, "lines": ["line 0", "line 1"]}
NOT_RUN: Record = {"started": 0, "ended": 0, "raised": 0, "lines": []}
TWICE: Record = {"started": 2, "ended": 2, "raised": 0, "lines": ["line 0", "line 1"]}
BOTH = ["line 0", "line 1"]


def test_some_seconds_of_runs_through_faults_lose_double_and_hide_nothing() -> None:
    summary = soak(5, seed=3)
    assert summary.bad_runs == []
    assert summary.exit_status == 0
    assert summary.counts["runs"] >= AT_ONCE
    assert summary.counts["messages"] > 0
    assert summary.counts["faults met"] > 0
    assert all(dagster > 0 and function > 0 for dagster, function in summary.memory)


@pytest.mark.parametrize(
    ("task", "record", "result", "counted"),
    [
        (TASK, RETURNED, Result(True, BOTH), {}),
        (RAISING, RAISED, Result(False, BOTH), {}),
        (TASK, RETURNED, Result(True, BOTH[:1]), {"lost": 1, "wrongly green": 1}),
        (RAISING, RAISED, Result(False, []), {"lost": 2}),
        (TASK, RETURNED, Result(True, [*BOTH, "line 1"]), {"doubled": 1}),
        (TASK, TWICE, Result(True, BOTH), {"doubled": 1}),
        (TASK, RETURNED, Result(True, BOTH[::-1]), {"out of order": 1}),
        (RAISING, RAISED, Result(True, BOTH), {"wrongly green": 1}),
        (TASK, NOT_RUN, Result(True, []), {"wrongly green": 1}),
        (TASK, RETURNED, Result(False, BOTH), {"wrongly red": 1}),
        (TASK, NOT_RUN, Result(False, []), {"wrongly red": 1}),
        (TASK, RETURNED, Result(hung=True), {"hung": 1}),
    ],
)
def test_a_run_is_counted_for_what_it_is(task: Task, record: Record, result: Result, counted: dict[str, Any]) -> None:
    counts = judge(task, result, record)
    assert {name: counts[name] for name in MUST_BE_ZERO if counts[name]} == counted
    summary = Summary(seed=0)
    summary.add(task, result, record)
    assert summary.exit_status == bool(counted)


def test_a_soak_without_a_run_shows_nothing() -> None:
    assert Summary(seed=0).exit_status == 1
