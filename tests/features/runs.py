"""Runs of a snippet in this process, and what the instance says of them."""

from types import ModuleType
from typing import Any

from dagster import AssetKey, AssetMaterialization, DagsterInstance, DagsterRun

from tests.dagster_runs import materializations


def run_assets(snippet: ModuleType, instance: DagsterInstance, *selection: str, **arguments: Any) -> DagsterRun:
    """Materialize a snippet's assets, or those with these keys, in this process; return the run as it is stored."""
    job = snippet.defs.resolve_implicit_global_asset_job_def()
    keys = [AssetKey.from_user_string(key) for key in selection] or None
    result = job.execute_in_process(instance=instance, asset_selection=keys, raise_on_error=False, **arguments)
    return stored_run(instance, result.run_id)


def run_job(snippet: ModuleType, instance: DagsterInstance, name: str, **arguments: Any) -> DagsterRun:
    """Run a job of a snippet in this process; return the run as it is stored."""
    job = snippet.defs.resolve_job_def(name)
    result = job.execute_in_process(instance=instance, raise_on_error=False, **arguments)
    return stored_run(instance, result.run_id)


def stored_run(instance: DagsterInstance, run_id: str) -> DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run
    return run


def materialized(instance: DagsterInstance, run: DagsterRun) -> dict[str, AssetMaterialization]:
    """Return the run's materializations by their assets."""
    events = materializations(instance, run.run_id)
    by_asset = {event.asset_key.to_user_string(): event for event in events}
    assert len(by_asset) == len(events)
    return by_asset


def metadata(event: AssetMaterialization) -> dict[str, Any]:
    """Return what the function reported: without the metadata of the call."""
    return {key: value.value for key, value in event.metadata.items() if not key.startswith("cloud_function/")}
