"""A function that logs faster than the event log takes entries, and one that does not."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, EventLogEntry, ExecuteInProcessResult, materialize

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset

COUNT = 10_000
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
BURST = {"mode": "burst", "count": COUNT}


def level_of(number: int) -> int:
    """The level at which `burst` logs a line."""
    return LEVELS[number // 50 % 5]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture(scope="module")
def slow_logger(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "slow_logger", emulator_url=emulator.url) as server:
        yield server


def entries_of(result: ExecuteInProcessResult, instance: DagsterInstance) -> list[EventLogEntry]:
    """Return the entries of the function's log lines."""
    entries = [entry for entry in instance.all_logs(result.run_id) if not entry.is_dagster_event]
    return [entry for entry in entries if not entry.user_message.startswith("[pipes]")]


def lines_of(entries: list[EventLogEntry]) -> list[tuple[int | str, str]]:
    """Return each line with its level."""
    return [(entry.level, line) for entry in entries for line in entry.user_message.split("\n")]


def stdout_of(result: ExecuteInProcessResult, instance: DagsterInstance) -> str:
    (captured,) = [event for event in result.all_events if event.event_type_value == "LOGS_CAPTURED"]
    log_key = [result.run_id, "compute_logs", captured.logs_captured_data.file_key]
    return (instance.compute_log_manager.get_log_data(log_key).stdout or b"").decode()


def test_a_burst_becomes_a_few_entries_complete_and_in_order(
    function: FunctionServer, client: PipesCloudFunctionClient, instance: DagsterInstance
) -> None:
    invocations: list[PipesCloudFunctionCompletedInvocation] = []
    asset = calling_asset(function.url, BURST, on_invocation=invocations.append)
    result = materialize([asset], resources={"cloud_function": client}, instance=instance)
    entries = entries_of(result, instance)
    assert lines_of(entries) == [(level_of(number), str(number)) for number in range(COUNT)]
    assert len(entries) < COUNT / 10  # 50 lines of one level are one entry, once the reader is behind
    assert list(invocations[0].get_custom_messages()) == list(range(999, COUNT, 1000))
    levels = [{level_of(int(line)) for line in entry.user_message.split("\n")} for entry in entries]
    assert levels == [{entry.level} for entry in entries]


def test_one_line_per_entry_keeps_each_line_alone(
    function: FunctionServer, bucket: str, instance: DagsterInstance
) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, log_lines_per_entry=1)
    asset = calling_asset(function.url, {"mode": "burst", "count": 500})
    result = materialize([asset], resources={"cloud_function": client}, instance=instance)
    assert [entry.user_message for entry in entries_of(result, instance)] == [str(number) for number in range(500)]


def test_a_line_every_half_second_is_an_entry_as_soon_as_it_is_logged(
    slow_logger: FunctionServer, client: PipesCloudFunctionClient, instance: DagsterInstance
) -> None:
    asset = calling_asset(slow_logger.url, {"count": 6, "interval": 0.5})
    result = materialize([asset], resources={"cloud_function": client}, instance=instance)
    entries = entries_of(result, instance)
    assert [entry.user_message for entry in entries] == [f"line {number}" for number in range(6)]
    assert entries[-1].timestamp - entries[0].timestamp > 1.5  # they were not kept until the end


def test_lower_levels_get_into_the_stdout_of_the_step(
    function: FunctionServer, bucket: str, instance: DagsterInstance
) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, event_log_level="warning")
    result = materialize([calling_asset(function.url, BURST)], resources={"cloud_function": client}, instance=instance)
    is_low = [level_of(number) < logging.WARNING for number in range(COUNT)]
    entries = [(level_of(number), str(number)) for number in range(COUNT) if not is_low[number]]
    assert lines_of(entries_of(result, instance)) == entries
    output = stdout_of(result, instance).splitlines()
    expected = [f"{logging.getLevelName(level_of(number))} - {number}" for number in range(COUNT) if is_low[number]]
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - ", "", line) for line in output] == expected
