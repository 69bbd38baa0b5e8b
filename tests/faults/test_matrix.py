"""Every fault at every place: nothing is lost, doubled, wrongly green, or left behind."""

import threading
from collections.abc import Iterator

import pytest

from dagster_gcf_pipes.local import available_emulators, run_emulator
from tests.faults.matrix import CASES, LINES, Case
from tests.faults.outcome import run_case
from tests.faults.stack import ProxiedStack, run_proxied_stack
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def stack() -> Iterator[ProxiedStack]:
    with (
        run_emulator(available_emulators()[0]) as emulator,
        run_proxied_stack(emulator) as stack,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr("dagster_gcf_pipes._attempts.RESPONSE_TIMEOUT", 3.0)  # for a response that never comes
        yield stack


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_fault_loses_doubles_and_leaves_nothing(stack: ProxiedStack, case: Case) -> None:
    check(stack, case)


def check(stack: ProxiedStack, case: Case) -> None:
    outcome = run_case(stack, case)
    assert not outcome.hung
    assert outcome.shown == LINES[: case.lines]
    assert outcome.green == (case.error is None), outcome.error
    if case.error:
        assert case.error in outcome.error
    else:
        assert len(list(stack.storage_client.list_blobs(stack.bucket, prefix=outcome.key))) == case.kept
    assert outcome.record["started"] == case.executions
    assert outcome.late_executions == case.late_executions
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("pipes ")])


def test_the_matrix_has_at_least_sixty_cases() -> None:
    assert len(CASES) >= 60
