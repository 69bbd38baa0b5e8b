"""A process that is killed in the middle of a run: the function's, or that of the Dagster step."""

import logging
import os
import random
import signal
import time
from collections.abc import Callable

import pytest
import requests
from dagster import (
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    InitLoggerContext,
    define_asset_job,
    logger,
)
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from dagster_gcf_pipes.local._processes import python_command, run_process
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, logged, step_error
from tests.sessions import bootstrap, stored_sessions, summarize
from tests.waiting import in_background, wait_until

SEEDS = range(int(os.environ.get("KILL_SEEDS", "4")))
SLOW_LOGGER = FUNCTIONS / "slow_logger" / "main.py"
COUNT = 40
OUTLIVING_COUNT = 120
EVENT = {"count": COUNT, "interval": 0.02}
LINES = [f"line {number}" for number in range(COUNT)]
CALLING = "[pipes] calling"
FUNCTION_TIMEOUT, READ_TIMEOUT_MARGIN, DRAIN_TIMEOUT = 3, 0.5, 1
RUN_BOUND = FUNCTION_TIMEOUT + READ_TIMEOUT_MARGIN + DRAIN_TIMEOUT + 15.0
"""Seconds within which a run must end after its function was killed, on a busy machine."""

SIGKILL_FOLLOWS = 10.0
"""Seconds after SIGTERM. Source: https://cloud.google.com/run/docs/container-contract#instance-shutdown."""

KILLED_STEP = """
import sys
from dagster import materialize
from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.dagster_runs import calling_asset

url, bucket, count = sys.argv[1:]
orders = calling_asset(url, {"count": int(count), "interval": 0.02})
materialize([orders], resources={"cloud_function": PipesCloudFunctionClient(bucket=bucket)})
"""


class Trigger(logging.Handler):
    """Does something once, when Dagster logs a line with a given start."""

    def __init__(self, start: str, action: Callable[[], None]) -> None:
        super().__init__()
        self.triggered = False
        self._start = start
        self._action = action

    def emit(self, record: logging.LogRecord) -> None:
        message = str(getattr(record, "dagster_meta", {}).get("orig_message"))
        if not self.triggered and f"{message} ".startswith(f"{self._start} "):
            self.triggered = True
            self._action()


def run_with_trigger(
    function: FunctionServer, client: PipesCloudFunctionClient, trigger: Trigger
) -> tuple[ExecuteInProcessResult, list[str]]:
    """Materialize an asset that calls the function, with the trigger as a logger of the run."""

    @logger
    def triggering(_: InitLoggerContext) -> logging.Logger:
        triggers = logging.Logger("trigger", level=logging.DEBUG)
        triggers.addHandler(trigger)
        return triggers

    definitions = Definitions(
        assets=[calling_asset(function.url, EVENT)],
        resources={"cloud_function": client},
        jobs=[define_asset_job("killed")],
        loggers={"trigger": triggering},
    )
    with DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("killed").execute_in_process(
            instance=instance, run_config={"loggers": {"trigger": {}}}, raise_on_error=False
        )
        return result, logged(instance, result.run_id)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_function_loses_no_stored_line(
    emulator: Emulator, bucket: str, storage_client: storage.Client, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The run succeeds only if the function closed its session."""
    # a margin of 30 s would only make each seed wait that much longer
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", READ_TIMEOUT_MARGIN)
    chosen = random.Random(seed)
    client = PipesCloudFunctionClient(
        bucket=bucket,
        function_timeout=FUNCTION_TIMEOUT,
        max_attempts=chosen.choice((1, 2)),
        retry_delay=0.2,
        drain_timeout=DRAIN_TIMEOUT,
        cleanup="never",
    )
    with run_function(SLOW_LOGGER, emulator_url=emulator.url) as server:
        group = server.child.process.pid  # gunicorn and its workers
        trigger = Trigger(chosen.choice([CALLING, *LINES]), lambda: os.killpg(group, signal.SIGKILL))
        started = time.monotonic()
        result, lines = run_with_trigger(server, client, trigger)
        duration = time.monotonic() - started
        assert server.child.process.wait(RUN_BOUND) == -signal.SIGKILL
    assert trigger.triggered
    assert duration < RUN_BOUND
    assert lines == LINES[: len(lines)]
    sessions = stored_sessions(storage_client, bucket).values()
    stored = [text for messages in sessions for text in summarize(messages)]
    assert lines == [text for text in stored if text.startswith("line")]
    assert result.success == ("closed" in stored)
    if not result.success:
        assert "PipesCloudFunctionCallError: The call got no response" in step_error(result)


def test_a_function_outlives_a_killed_step(emulator: Emulator, bucket: str, storage_client: storage.Client) -> None:
    with run_function(SLOW_LOGGER, emulator_url=emulator.url) as server:
        command = python_command("-c", KILLED_STEP, server.url, bucket, str(OUTLIVING_COUNT))
        with run_process(command, ready="(line 5)", stop_signal=signal.SIGKILL) as dagster:
            pass
        assert dagster.process.returncode == -signal.SIGKILL

        def session() -> list[str]:
            (messages,) = stored_sessions(storage_client, bucket).values()
            return summarize(messages)

        assert "closed" not in session()  # it is still running
        wait_until(lambda: session()[-1] == "closed")
    (messages,) = stored_sessions(storage_client, bucket).values()
    assert summarize(messages) == ["opened", *(f"line {number}" for number in range(OUTLIVING_COUNT)), "closed"]


def test_a_function_finishes_its_call_after_sigterm(emulator: Emulator, bucket: str) -> None:
    """The platform sends SIGTERM, and SIGKILL ten seconds later."""
    client = PipesCloudFunctionClient(bucket=bucket, function_timeout=30)
    with run_function(SLOW_LOGGER, emulator_url=emulator.url) as server:
        trigger = Trigger("line 5", server.child.process.terminate)
        result, lines = run_with_trigger(server, client, trigger)
        assert server.child.process.wait(10) == 0
    assert trigger.triggered
    assert result.success
    assert lines == LINES


def test_messages_are_stored_between_sigterm_and_sigkill(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    with run_function(FUNCTIONS / "hanging" / "main.py", emulator_url=emulator.url) as server:
        body = bootstrap(bucket, "session")
        call = in_background(lambda: requests.post(server.url, json=body, timeout=60))
        server.child.wait_for_output("hanging")
        server.child.process.terminate()
        wait_until(lambda: len(list(storage_client.list_blobs(bucket))) == 2, timeout=SIGKILL_FOLLOWS)
        os.killpg(server.child.process.pid, signal.SIGKILL)
        assert isinstance(call.exception(60), requests.ConnectionError)
    assert summarize(stored_sessions(storage_client, bucket)["session"]) == ["opened", "a buffered line"]
