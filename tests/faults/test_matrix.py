"""Every fault at every place where it can strike: nothing lost, doubled, wrongly green, or left behind."""

import threading
from collections.abc import Iterator

import pytest

from local_stack.emulators import available_emulators, run_emulator
from tests.faults.matrix import CASES, LINES, Case
from tests.faults.pairs import OURS, Parts
from tests.faults.running import run_case
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    with run_emulator(available_emulators()[0]) as emulator, OURS.running(emulator, "bucket-of-faults") as parts:
        parts.admin.create_bucket(parts.bucket)
        yield parts


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_fault_leaves_nothing_lost_doubled_wrongly_green_or_behind(parts: Parts, case: Case) -> None:
    outcome = run_case(OURS, parts, case)
    assert not outcome.hung
    assert outcome.seconds < case.bound
    assert outcome.shown == LINES[: case.lines]
    assert outcome.green == (case.error is None), outcome.error
    if case.error:
        assert case.error in outcome.error
    else:
        assert len(list(parts.admin.list_blobs(parts.bucket, prefix=outcome.key))) == case.kept
    assert outcome.record["started"] == case.executions
    assert outcome.late_executions == case.late_executions
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("pipes ")])


def test_the_matrix_has_at_least_sixty_cases() -> None:
    assert len(CASES) >= 60
