"""A run of the matrix is counted for what it is, whichever pair made it."""

from dataclasses import replace
from typing import Any

import pytest

from local_stack.emulators import Emulator
from tests.faults.__main__ import COUNTS
from tests.faults.matrix import CASES, LINES, Case
from tests.faults.pairs import STOCK
from tests.faults.plan import CALL, Fault, ResetBefore
from tests.faults.running import Outcome, run_case
from tests.functions.record import Record

RAN: Record = {"started": 1, "ended": 1, "raised": 0, "lines": LINES}
NOT_RUN: Record = {"started": 0, "ended": 0, "raised": 0, "lines": []}
TWICE: Record = {"started": 2, "ended": 1, "raised": 1, "lines": LINES}
PASSES = Case("call", (Fault(CALL, ResetBefore()),))
KEEPS_TWO_AWAY = replace(PASSES, error="an error", lines=2)
GREEN = Outcome(PASSES, "key", green=True, error="", shown=LINES, record=RAN, seconds=1.0, hung=False)
RED = replace(GREEN, green=False, error="an error")


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (GREEN, {"green, and all is well": 1}),
        (
            replace(GREEN, shown=LINES[:1]),
            {"runs that lost messages": 1, "lines lost": 3, "wrongly green": 1},
        ),
        (
            replace(GREEN, case=KEEPS_TWO_AWAY, shown=LINES[:2]),
            {"runs that lost messages": 1, "lines lost": 2, "wrongly green": 1},
        ),
        (replace(GREEN, record=NOT_RUN, shown=[]), {"wrongly green": 1}),
        (replace(GREEN, case=replace(PASSES, status=503)), {"wrongly green": 1}),
        (
            replace(GREEN, shown=[*LINES, LINES[0]]),
            {"runs that showed messages twice": 1},
        ),
        (replace(GREEN, record=TWICE), {"runs in which the user's code ran twice": 1}),
        (replace(GREEN, late_executions=1), {"runs whose code ran again when the call was delivered again": 1}),
        (replace(RED, record=NOT_RUN, shown=[], late_executions=1), {"truthful failures": 1}),
        (replace(GREEN, hung=True), {"hung": 1}),
        (replace(RED, hung=True), {"hung": 1}),
        (RED, {"wrongly red": 1}),
        (replace(RED, record=NOT_RUN, shown=[]), {"truthful failures": 1}),
        (replace(RED, case=KEEPS_TWO_AWAY, shown=LINES[:2]), {"truthful failures": 1}),
        (
            replace(RED, case=KEEPS_TWO_AWAY, shown=LINES[:1]),
            {"runs that lost messages": 1, "lines lost": 1, "truthful failures": 1},
        ),
    ],
)
def test_a_run_is_counted_for_what_it_is(outcome: Outcome, counted: dict[str, Any]) -> None:
    assert {name: int(count(outcome)) for name, count in COUNTS.items() if count(outcome)} == counted


def test_the_stock_pair_meets_a_plan_too(emulator: Emulator, bucket: str) -> None:
    with STOCK.running(emulator, bucket) as parts:
        outcome = run_case(STOCK, parts, CASES["upload of a middle line: 503"])
    assert (outcome.green, outcome.shown, outcome.record["started"]) == (True, LINES, 1)
