"""A run that a user terminates in a real `dagster dev`, and a step that Dagster retries."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import RetryPolicy
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_dev import Dagster, run_dagster
from tests.dagster_runs import calling_asset, run
from tests.marked import nothing_left_running
from tests.sessions import stored_sessions, summarize
from tests.waiting import wait_until

STEADY = FUNCTIONS / "slow_logger" / "main.py"
ENDLESS_ROWS = 5_000_000
LAUNCH = """
mutation ($runConfig: RunConfigData!) {
  launchRun(executionParams: {
    selector: {
      repositoryLocationName: "examples.definitions", repositoryName: "__repository__", jobName: "customers_job"
    },
    runConfigData: $runConfig
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
TERMINATE = "mutation ($runId: String!) { terminateRun(runId: $runId) { __typename } }"
RUN = """
query ($runId: ID!) {
  runOrError(runId: $runId) {
    ... on Run { status eventConnection { events { ... on MessageEvent { message } } } }
  }
}
"""


SHOULD_SHOW_NUX = "{ shouldShowNux }"


def launch(dagster: Dagster, run_config: dict[str, Any]) -> str:
    """Launch a run, and return its id."""
    answer = dagster.ask(LAUNCH, runConfig=run_config)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def status(dagster: Dagster, run_id: str) -> str:
    return str(dagster.ask(RUN, runId=run_id)["runOrError"]["status"])


def logs(dagster: Dagster, run_id: str) -> str:
    """Return the log of a run so far."""
    events = dagster.ask(RUN, runId=run_id)["runOrError"]["eventConnection"]["events"]
    return "\n".join(event["message"] for event in events)


@pytest.fixture
def dagster(tmp_path: Path) -> Iterator[Dagster]:
    home = tmp_path / "home"
    home.mkdir()
    with (
        nothing_left_running() as environment,
        run_dagster(tmp_path / "dev", {**environment, "HOME": str(home)}) as dev,
    ):
        yield dev
    assert os.listdir(home) == []


def test_terminating_a_run_stops_its_function(dagster: Dagster) -> None:
    """With the multiprocess executor, which is Dagster's default: the step has a process of its own."""
    assert dagster.ask(SHOULD_SHOW_NUX) == {"shouldShowNux": False}
    run_id = launch(dagster, {"ops": {"customers": {"config": {"rows": ENDLESS_ROWS}}}})
    wait_until(lambda: f"generated 500 of {ENDLESS_ROWS} customers" in logs(dagster, run_id), timeout=60)
    assert "multiprocess executor" in logs(dagster, run_id)
    assert dagster.ask(TERMINATE, runId=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    wait_until(lambda: status(dagster, run_id) == "CANCELED")
    assert "[pipes] the run is terminated: telling the function to stop" in logs(dagster, run_id)
    dagster.process.wait_for_output("PipesCancelledError: Dagster has terminated the run")


def test_a_dagster_retry_has_a_session_of_its_own(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    event = {"count": 2, "interval": 0, "fails_once": uuid.uuid4().hex}
    client = PipesCloudFunctionClient(bucket=bucket, cleanup="never")
    with run_function(STEADY, emulator_url=emulator.url) as server:
        orders = calling_asset(server.url, event, retry_policy=RetryPolicy(max_retries=1))
        result, lines = run(orders, client)
    assert result.success
    assert [line for line in lines if line.startswith("line")] == ["line 0", "line 1"] * 2
    sessions = stored_sessions(storage_client, bucket)
    assert sorted(summarize(messages) for messages in sessions.values()) == [
        ["opened", "line 0", "line 1", "closed"],
        ["opened", "line 0", "line 1", "closed with ConnectionError"],
    ]
    assert len({prefix.rpartition("/")[0] for prefix in sessions}) == 1  # of one step of one run
