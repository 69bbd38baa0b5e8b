"""Runs of a snippet in this process, and what the instance says of them."""

from types import ModuleType
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetMaterialization,
    AssetSelection,
    DagsterInstance,
    DagsterRun,
    Definitions,
    define_asset_job,
)

from tests.dagster_runs import check_evaluations, materializations


def run_assets(
    snippet: ModuleType, instance: DagsterInstance, selection: AssetSelection | None = None, **arguments: Any
) -> DagsterRun:
    """Materialize and check a snippet's assets, or a selection, in this process; return the run as it is stored."""
    everything = AssetSelection.all() | AssetSelection.all_asset_checks()
    job = define_asset_job("selected", selection or everything)
    job_def = Definitions.merge(snippet.defs, Definitions(jobs=[job])).resolve_job_def("selected")
    result = job_def.execute_in_process(instance=instance, raise_on_error=False, **arguments)
    return stored_run(instance, result.run_id)


def run_job(snippet: ModuleType, instance: DagsterInstance, job: str, **arguments: Any) -> DagsterRun:
    """Run a snippet's job in this process; return the run as it is stored."""
    job_def = snippet.defs.resolve_job_def(job)
    result = job_def.execute_in_process(instance=instance, raise_on_error=False, **arguments)
    return stored_run(instance, result.run_id)


def stored_run(instance: DagsterInstance, run_id: str) -> DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run
    return run


def materialized(instance: DagsterInstance, run: DagsterRun) -> dict[str, AssetMaterialization]:
    """Return the materializations of a run by their assets, each of which it materialized once."""
    events = materializations(instance, run.run_id)
    by_asset = {event.asset_key.to_user_string(): event for event in events}
    assert len(by_asset) == len(events)
    return by_asset


def evaluated(instance: DagsterInstance, run: DagsterRun) -> dict[str, AssetCheckEvaluation]:
    """Return the check evaluations of a run by "asset:check", each of which it made once."""
    events = check_evaluations(instance, run.run_id)
    by_check = {f"{event.asset_key.to_user_string()}:{event.check_name}": event for event in events}
    assert len(by_check) == len(events)
    return by_check


def reported(event: AssetMaterialization | AssetCheckEvaluation) -> dict[str, Any]:
    """Return the metadata that the function reported, without that of the call."""
    return {key: value.value for key, value in event.metadata.items() if not key.startswith("cloud_function/")}


def step_keys(instance: DagsterInstance, run: DagsterRun, event_type: str) -> list[str]:
    """Return the steps that have an event of a type, in order."""
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    return [str(event.step_key) for event in events if event.event_type_value == event_type]


def step_processes(instance: DagsterInstance, run: DagsterRun) -> set[int | None]:
    """Return the processes that ran the steps of a run."""
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    return {event.pid for event in events if event.is_step_start}


def failure_text(instance: DagsterInstance, run: DagsterRun) -> str:
    """Return what a run's failed steps say."""
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    failures = [event.step_failure_data for event in events if event.is_step_failure]
    return "\n".join(failure.error.to_string() for failure in failures if failure.error)
