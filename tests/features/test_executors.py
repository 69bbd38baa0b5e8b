"""Executors: what runs the steps of a run."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance, JobDefinition, execute_job, reconstructable

from dagster_gcf_pipes.local._processes import run_process
from examples.features import celery_executor, executors
from tests.features.runs import materialized, reported, step_processes, stored_run


def in_process() -> JobDefinition:
    return executors.defs.resolve_job_def("in_process")


def four_processes() -> JobDefinition:
    return executors.defs.resolve_job_def("four_processes")


def on_celery() -> JobDefinition:
    return celery_executor.defs.resolve_job_def("on_celery")


@pytest.mark.parametrize(("job", "processes"), [(in_process, 1), (four_processes, 2)])
def test_executors(instance: DagsterInstance, job: Callable[[], JobDefinition], processes: int) -> None:
    with execute_job(reconstructable(job), instance) as result:
        run = stored_run(instance, result.run_id)
    assert run.is_success
    events = materialized(instance, run)
    assert {key: reported(event)["rows"] for key, event in events.items()} == {"orders": 3, "revenue": 3}
    assert len(step_processes(instance, run)) == processes


@pytest.mark.filterwarnings("ignore:Task name 'execute_plan' is already registered")  # by dagster-celery, per step
def test_the_celery_executor(instance: DagsterInstance, tmp_path: Path) -> None:
    """The broker is a folder: with RabbitMQ or Redis only its URL differs."""
    for folder in ("queue", "results"):
        (tmp_path / folder).mkdir()
    folders = {
        "data_folder_in": f"{tmp_path}/queue",
        "data_folder_out": f"{tmp_path}/queue",
        "control_folder": f"{tmp_path}/control",
    }
    config = {
        "broker": "filesystem://",
        "backend": f"file://{tmp_path}/results",
        "config_source": {"broker_transport_options": folders},
    }
    (tmp_path / "celery.yaml").write_text(json.dumps({"execution": {"config": config}}))
    programs = Path(sys.executable).parent
    worker = [f"{programs}/dagster-celery", "worker", "start", "-A", "dagster_celery.app"]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"  # it starts `celery`
    with (
        run_process([*worker, "-y", f"{tmp_path}/celery.yaml"], ready=r"dagster-\S+ (ready)", env={"PATH": path}),
        execute_job(reconstructable(on_celery), instance, run_config={"execution": {"config": config}}) as result,
    ):
        run = stored_run(instance, result.run_id)
    assert run.is_success
    assert sorted(materialized(instance, run)) == ["orders", "revenue"]
