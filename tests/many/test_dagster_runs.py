"""A run with the real client: the same events with the simulated function as with the real one."""

import re
from typing import Any

import pytest
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    DagsterEventType,
    DagsterInstance,
    MaterializeResult,
    StaticPartitionsDefinition,
    asset,
    materialize,
)

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.many.conftest import Stack, Stacks
from tests.many.events import Event

_OWN = re.compile(r"(gs|http)://\S+|[0-9a-f]{32}|[0-9.]+ s\b|File .*\n.*\n")
"""What each run has of its own in a text: names, ids, times, and lines of the function's file."""
SHOWN = {
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_CHECK_EVALUATION,
    DagsterEventType.ASSET_OBSERVATION,
    DagsterEventType.STEP_OUTPUT,
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.RUN_SUCCESS,
    DagsterEventType.RUN_FAILURE,
}
CASES: dict[str, Event] = {
    "a materialization": {
        "key": "a",
        "lines": 3,
        "seconds": 0.5,
        "materialization": {"rows": 3},
        "data_version": "v1",
        "checks": [{"check_name": "complete", "passed": True, "metadata": {"rows": 3}}],
    },
    "an exception": {"key": "a", "lines": 1, "materialization": {"rows": 3}, "ending": "raises"},
    "a status of its own": {"lines": 1, "status": 404},
    "output": {"prints": 2},
}


def events_of_run(stack: Stack, event: Event, partition: str | None) -> list[Any]:
    """Return what Dagster shows of a run: log lines, results with their metadata, and how the step ended."""
    client = PipesCloudFunctionClient(bucket=stack.bucket, forward_logs=True)

    @asset(
        code_version="1",
        check_specs=[AssetCheckSpec("complete", asset="orders")],
        partitions_def=StaticPartitionsDefinition(["x", "y"]) if partition else None,
    )
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        default = {"checks": [{"check_name": "complete", "passed": False}], "materialization": {}}
        call = cloud_function.run(context=context, function_url=stack.function_url, event={**default, **event})
        return call.get_materialize_result()

    with DagsterInstance.ephemeral() as instance:
        resources = {"cloud_function": client}
        result = materialize(
            [orders], resources=resources, instance=instance, partition_key=partition, raise_on_error=False
        )
        entries = instance.all_logs(result.run_id)
    return [_shown(entry) for entry in entries if not entry.dagster_event or entry.dagster_event.event_type in SHOWN]


def _shown(entry: Any) -> Any:
    event = entry.dagster_event
    if event is None:
        return entry.level, _OWN.sub("...", entry.user_message)
    if event.event_type == DagsterEventType.STEP_FAILURE:
        failure = event.step_failure_data.user_failure_data
        return event.event_type, _OWN.sub("...", failure.description), sorted(failure.metadata)
    data = event.event_specific_data
    result = getattr(data, "materialization", None) or getattr(data, "asset_observation", None) or data
    metadata = getattr(result, "metadata", {})
    own = {name: value.value for name, value in metadata.items() if not name.startswith("cloud_function/")}
    tags = {name: value for name, value in (getattr(result, "tags", {}) or {}).items() if "pointer" not in name}
    return event.event_type, getattr(result, "partition", None), own, sorted(metadata), tags


@pytest.mark.parametrize("partition", [None, "y"])
@pytest.mark.parametrize("event", CASES.values(), ids=CASES)
def test_dagster_shows_the_same_of_both(
    stacks: Stacks, monkeypatch: pytest.MonkeyPatch, event: Event, partition: str | None
) -> None:
    seen = []
    for stack in stacks:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.storage_url)
        seen.append(events_of_run(stack, event, partition))
    real, simulated = seen
    assert any(entry[0] in {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE} for entry in real)
    assert simulated == real
