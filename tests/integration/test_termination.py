"""A run that a user terminates in a real `dagster dev`, and a step that Dagster retries."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from dagster import RetryPolicy
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from local_stack.dev import run_dagster
from local_stack.stack import run_stack
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, run
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


@dataclass(frozen=True)
class Dagster:
    """A running `dagster dev` with the example's definitions.

    Attributes:
        url: Where its web server is.
        function: The example's function.
    """

    url: str
    function: FunctionServer

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the data of a GraphQL response."""
        response = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60)
        assert response.status_code == 200, response.text
        assert "errors" not in response.json(), response.text
        return response.json()["data"]

    def launch(self, run_config: dict[str, Any]) -> str:
        """Launch a run and return its id."""
        answer = self.ask(LAUNCH, runConfig=run_config)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def status(self, run_id: str) -> str:
        """Return the status of a run."""
        return str(self.ask(RUN, runId=run_id)["runOrError"]["status"])

    def logs(self, run_id: str) -> str:
        """Return the log of a run so far."""
        events = self.ask(RUN, runId=run_id)["runOrError"]["eventConnection"]["events"]
        return "\n".join(event["message"] for event in events)


@pytest.fixture
def dagster(tmp_path: Path) -> Iterator[Dagster]:
    with run_stack(tmp_path / "lake") as stack, run_dagster(tmp_path / "dagster_home", stack.environment) as dev:
        yield Dagster(dev.ready, stack.function)


def test_terminating_a_run_stops_its_function(dagster: Dagster) -> None:
    """With the multiprocess executor, which is Dagster's default: the step has a process of its own."""
    run_id = dagster.launch({"ops": {"customers": {"config": {"rows": ENDLESS_ROWS}}}})
    wait_until(lambda: f"generated 500 of {ENDLESS_ROWS} people" in dagster.logs(run_id), timeout=60)
    assert "multiprocess executor" in dagster.logs(run_id)
    assert dagster.ask(TERMINATE, runId=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    wait_until(lambda: dagster.status(run_id) == "CANCELED")
    assert "[pipes] the run is terminated: telling the function to stop" in dagster.logs(run_id)
    dagster.function.child.wait_for_output("PipesCancelledError: Dagster has terminated the run")


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
