"""The judgement of an outcome."""

from dataclasses import replace

import pytest

from tests.faults.matrix import LINES
from tests.faults.outcome import Outcome
from tests.functions.record import Record

JUDGEMENTS = (
    "lost",
    "doubled",
    "run_twice",
    "run_late",
    "wrongly_green",
    "wrongly_red",
    "truthful_failure",
    "sound",
)
RAN: Record = {"started": 1, "ended": 1, "raised": 0, "lines": LINES}
NOT_RUN: Record = {"started": 0, "ended": 0, "raised": 0, "lines": []}
TWICE: Record = {"started": 2, "ended": 1, "raised": 1, "lines": LINES}
GREEN = Outcome("key", green=True, shown=LINES, record=RAN)
RED = replace(GREEN, green=False, error="an error")
TWO_DELIVERABLE = replace(GREEN, must_succeed=False, deliverable=LINES[:2])


@pytest.mark.parametrize(
    ("outcome", "judgements"),
    [
        (GREEN, {"sound": True}),
        (replace(GREEN, shown=LINES[:1]), {"lost": 3, "wrongly_green": True}),
        (replace(TWO_DELIVERABLE, shown=LINES[:2]), {"lost": 2, "wrongly_green": True}),
        (replace(GREEN, record=NOT_RUN, shown=[]), {"wrongly_green": True}),
        (replace(GREEN, code_fails=True), {"wrongly_green": True}),
        (replace(GREEN, shown=[*LINES, LINES[0]]), {"doubled": 1}),
        (replace(GREEN, record=TWICE), {"run_twice": True}),
        (replace(GREEN, late_executions=1), {"run_late": True}),
        (replace(GREEN, hung=True), {}),
        (RED, {"wrongly_red": True}),
        (replace(RED, record=NOT_RUN, shown=[]), {"truthful_failure": True}),
        (replace(RED, record=NOT_RUN, shown=[], late_executions=1), {"truthful_failure": True}),
        (replace(TWO_DELIVERABLE, green=False, shown=LINES[:2]), {"truthful_failure": True}),
        (replace(TWO_DELIVERABLE, green=False, shown=LINES[:1]), {"lost": 1, "truthful_failure": True}),
    ],
)
def test_an_outcome_is_judged(outcome: Outcome, judgements: dict[str, object]) -> None:
    found = {name: getattr(outcome, name) for name in JUDGEMENTS}
    assert {name: value for name, value in found.items() if value} == judgements
