"""One round of the soak, and its counts of bad runs."""

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.outcome import Outcome
from tests.functions.record import Record
from tests.soak.runs import Task
from tests.soak.soak import AT_ONCE, soak
from tests.soak.summary import MUST_BE_ZERO, Summary, judge

RETURNED: Record = {"started": 1, "ended": 1, "raised": 0, "lines": ["line 0", "line 1"]}
NOT_RUN: Record = {"started": 0, "ended": 0, "raised": 0, "lines": []}
GREEN = Outcome("key", green=True, shown=["line 0", "line 1"], record=RETURNED)


def test_a_round_of_runs_with_faults_has_no_bad_run() -> None:
    summary = soak(0, seed=1)
    assert summary.bad_runs == []
    assert summary.exit_status == 0
    assert summary.counts["runs"] >= AT_ONCE
    assert summary.counts["messages"] > 0
    assert summary.counts["faults injected"] > 0
    assert all(dagster > 0 and function > 0 for dagster, function in summary.memory)


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (GREEN, {}),
        (replace(GREEN, shown=["line 0"]), {"lost": 1, "wrongly green": 1}),
        (replace(GREEN, late_executions=1), {"doubled": 1}),
        (replace(GREEN, shown=["line 1", "line 0"]), {"out of order": 1}),
        (replace(GREEN, code_fails=True, must_succeed=False), {"wrongly green": 1}),
        (replace(GREEN, green=False), {"wrongly red": 1}),
        (Outcome("key", record=NOT_RUN), {"wrongly red": 1}),
        (Outcome("key", hung=True), {"hung": 1}),
    ],
)
def test_a_run_is_counted(outcome: Outcome, counted: dict[str, Any]) -> None:
    counts = judge(outcome)
    assert {name: counts[name] for name in MUST_BE_ZERO if counts[name]} == counted
    summary = Summary(seed=0)
    summary.add(Task("http://function", "http://storage", "bucket", "key", count=2), outcome)
    assert summary.exit_status == bool(counted)


def test_a_soak_without_a_run_fails() -> None:
    assert Summary(seed=0).exit_status == 1
