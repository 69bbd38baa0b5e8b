"""Messages through Cloud Logging: a real function, whose output the agent collects, a Dagster instance, no storage."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    DagsterInstance,
    PipesEnvContextInjector,
    RetryPolicy,
    asset,
    materialize,
    open_pipes_session,
)
from google.oauth2.credentials import Credentials

from dagster_gcf_pipes import (
    PipesCloudFunctionClient,
    PipesCloudFunctionCompletedInvocation,
    PipesCloudLoggingMessageReader,
)
from dagster_gcf_pipes._messages import entry_session, session_reader
from dagster_gcf_pipes.local._functions import run_function
from tests.dagster_runs import calling_asset, failure_text, run
from tests.google.functions_api import TOKEN, permission_denied
from tests.google.logging_agent import Agent
from tests.google.logging_cloud import PROJECT, LoggingCloud, logging_cloud
from tests.waiting import in_background

FUNCTIONS = Path(__file__).parents[1] / "functions"
NO_EMULATOR = "http://127.0.0.1:1"


class LoggingClient(PipesCloudFunctionClient):
    def get_credentials(self) -> Credentials:
        return Credentials(token=TOKEN)


@pytest.fixture(scope="module")
def cloud() -> Iterator[LoggingCloud]:
    with logging_cloud() as cloud:
        yield cloud


@contextmanager
def deployed(cloud: LoggingCloud, name: str, **options: Any) -> Iterator[str]:
    """Run a function, and yield its URL. Its entries are up to half a second late, and some come twice."""
    agent = Agent(cloud.api, PROJECT, **{"delay": (0.0, 0.5), "duplicates": 0.2, **options})
    with run_function(
        FUNCTIONS / name / "main.py",
        emulator_url=NO_EMULATOR,
        threads=4,
        on_line=lambda line: agent.take([line.encode()]),
    ) as server:
        yield server.url


@pytest.fixture(scope="module")
def behaviors(cloud: LoggingCloud) -> Iterator[str]:
    with deployed(cloud, "behaviors") as url:
        yield url


@pytest.fixture
def client() -> PipesCloudFunctionClient:
    return LoggingClient(messages="logging", project=PROJECT)


def test_messages_and_response_arrive(behaviors: str, client: PipesCloudFunctionClient) -> None:
    result, lines = run(calling_asset(behaviors, {"mode": "levels"}), client)
    assert result.success, failure_text(result)
    assert lines == [f"a line at {level}" for level in ("debug", "info", "warning", "error", "critical")]
    specs = [AssetCheckSpec("not_empty", asset="orders"), AssetCheckSpec("fresh", asset="orders")]
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    event = {"mode": "materialize"}
    result, _ = run(calling_asset(behaviors, event, on_invocation=seen.append, check_specs=specs), client)
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True, False]
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["rows"].value == 3
    (invocation,) = seen
    assert invocation.response is not None
    assert invocation.response.json() == {"rows": 3}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("raises", "the table is broken"),
        ("exits", "stopped by sys.exit"),
        ("answers_500", "chosen by the function"),
        ("custom_not_serializable", "to be JSON serializable"),
    ],
)
def test_how_the_function_failed(behaviors: str, client: PipesCloudFunctionClient, mode: str, expected: str) -> None:
    result, _ = run(calling_asset(behaviors, {"mode": mode}), client)
    assert not result.success
    assert expected in failure_text(result)


def test_steps_at_once_do_not_mix(behaviors: str, client: PipesCloudFunctionClient) -> None:
    def lines_of(tag: str) -> list[str]:
        result, lines = run(calling_asset(behaviors, {"mode": "lines", "tag": tag, "count": 50}), client)
        assert result.success, failure_text(result)
        return [line for entry in lines for line in entry.splitlines()]

    runs = {tag: in_background(partial(lines_of, tag)) for tag in ("a", "b", "c", "d")}
    for tag, lines in runs.items():
        assert lines.result(60) == [f"{tag} {number}" for number in range(50)]


def test_output_is_forwarded_without_a_loop(cloud: LoggingCloud, capfd: pytest.CaptureFixture[str]) -> None:
    client = LoggingClient(messages="logging", project=PROJECT, forward_logs=True)
    with deployed(cloud, "printing") as url:
        result, _ = run(calling_asset(url, {"mode": "everything", "tag": "tagged", "count": 20}), client)
    assert result.success, failure_text(result)
    output = capfd.readouterr()
    for way in ("print", "writelines", "thread0", "thread1"):
        assert [line for line in output.out.splitlines() if line.startswith(f"tagged {way} ")] == [
            f"tagged {way} {number}" for number in range(20)
        ]
    assert "dagster_pipes" not in output.out


def test_a_function_that_dies_is_not_called_again(
    cloud: LoggingCloud, client: PipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the client nor by Dagster's own retries: nobody knows what the first execution does."""
    monkeypatch.setattr(session_reader, "MAX_SILENT_HEARTBEATS", 0.1)
    monkeypatch.setattr(entry_session, "INGESTION_ALLOWANCE", 0.5)
    with deployed(cloud, "behaviors") as url:
        retried = calling_asset(url, {"mode": "dies_later"}, retry_policy=RetryPolicy(max_retries=3))
        result, lines = run(retried, client)
    assert lines == ["loading everything bit by bit"]
    text = failure_text(result)
    assert "The call is not retried: the request was sent, and without a bucket nothing keeps" in text


def test_missing_entries_fail_the_step(
    cloud: LoggingCloud, client: PipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_session, "INGESTION_TIMEOUT", 1.0)
    with deployed(cloud, "behaviors", lost=range(1, 1000)) as url:
        result, _ = run(calling_asset(url, {"mode": "levels"}), client)
    assert not result.success
    text = failure_text(result)
    assert "it wrote 7 log entries, but log entries 1, 2, 3, 4, 5, 6, 7 are not in Cloud Logging" in text
    assert "no exclusion filter drops" in text


def test_a_missing_permission_fails_the_step(
    cloud: LoggingCloud, behaviors: str, client: PipesCloudFunctionClient
) -> None:
    cloud.api.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}"))
    result, _ = run(calling_asset(behaviors, {"mode": "levels"}), client)
    assert not result.success
    assert "`roles/logging.viewer` in the project" in failure_text(result)


def test_a_function_of_an_unknown_project_is_not_called(behaviors: str) -> None:
    result, _ = run(calling_asset(behaviors, {"mode": "levels"}), LoggingClient(messages="logging"))
    assert not result.success
    assert "Fix: Set `project` of the resource" in failure_text(result)


def test_the_reader_works_alone(behaviors: str, cloud: LoggingCloud) -> None:
    """With Dagster's own injector, which needs no bucket either."""
    reader = PipesCloudLoggingMessageReader(project=PROJECT, credentials=Credentials(token=TOKEN), drain_timeout=2)

    @asset(check_specs=[AssetCheckSpec("not_empty", asset="orders"), AssetCheckSpec("fresh", asset="orders")])
    def orders(context: AssetExecutionContext) -> Iterator[Any]:
        injector = PipesEnvContextInjector()
        with open_pipes_session(context=context, context_injector=injector, message_reader=reader) as session:
            body = {"mode": "materialize", **session.get_bootstrap_env_vars()}
            assert requests.post(behaviors, json=body, timeout=60).ok
        yield from session.get_results()

    with DagsterInstance.ephemeral() as instance:
        result = materialize([orders], instance=instance, raise_on_error=False)
    assert result.success, failure_text(result)
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["rows"].value == 3
