"""Some of the kills of `just evict`, from each phase of a call."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dagster_gcf_pipes.local import FAKE_GCS_SERVER, available_emulators
from tests.evict.boundaries import Phase
from tests.evict.cases import KILL, TERM, Case, Setup
from tests.evict.stack import run_stack, running_groups
from tests.evict.trials import Outcome, run_case

CASES = {
    Case("ours", Setup.MULTIPROCESS, boundary="before STEP_START #1", victim="executor"): Phase.BEFORE_RECORD,
    Case("ours", Setup.OP_RETRIES, boundary="before the POST #1", signum=KILL): Phase.RECORDED,
    Case("ours", Setup.IN_PROCESS, "run worker", "before the POST #1", victim="run worker"): Phase.RECORDED,
    Case("ours", Setup.OP_RETRIES, boundary="the POST is sent #1", signum=KILL): Phase.SENT,
    Case("ours", Setup.MULTIPROCESS, boundary="after GET 2.json #1", victim="run worker"): Phase.STREAMING,
    Case("ours", Setup.MULTIPROCESS, boundary="after GET 4.json #1", victim="executor", signum=TERM): Phase.STREAMING,
    Case("ours", Setup.OP_RETRIES, boundary="before GET 3.json #1", signum=TERM): Phase.STREAMING,
    Case("ours", Setup.RESUMED, boundary="before a log line #8", victim="executor"): Phase.STREAMING,
    Case("ours", Setup.MULTIPROCESS, boundary="after the POST #1", victim="run worker", signum=TERM): Phase.RESPONDED,
    Case("ours", Setup.OP_RETRIES, boundary="`run` returned #1", signum=KILL): Phase.RETURNED,
    Case("ours", Setup.MULTIPROCESS, boundary="before STEP_SUCCESS #1", signum=KILL): Phase.RETURNED,
    Case("ours", Setup.MULTIPROCESS, boundary="before the teardown #1", victim="executor"): Phase.SUCCEEDED,
}
"""Each kill, and the phase in which it happens."""


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[Case, Outcome]]:
    """The outcomes of all kills, a few at a time."""
    if FAKE_GCS_SERVER not in available_emulators():
        pytest.skip("the other emulator ignores preconditions, so a call that is delivered twice runs twice")
    with run_stack(implementations=("ours",)) as stack, ThreadPoolExecutor(3) as pool:
        yield dict(zip(CASES, pool.map(lambda case: run_case(stack, case), CASES), strict=True))
    assert running_groups().isdisjoint(stack.groups)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_code_runs_once_and_everything_is_there_once(outcomes: dict[Case, Outcome], case: Case) -> None:
    assert outcomes[case].phase is CASES[case]
    assert outcomes[case].good, outcomes[case]
