"""A step with many calls that is killed: its next attempt makes only the calls that have not been made."""

import json
import signal
import uuid
from pathlib import Path

import pytest
from dagster import DagsterRunStatus, ReexecutionOptions, execute_job, instance_for_test, reconstructable

from dagster_gcf_pipes.local._processes import python_command, run_process
from tests.many.interrupted_job import BUCKET, CALLS, RESULTS, URL, job
from tests.many.simulated_platform import SimulatedPlatform
from tests.waiting import wait_until

EXECUTE = "from tests.many.interrupted_job import execute; execute()"


@pytest.mark.parametrize(("calls", "executions_before"), [(60, 30), (60, 90), (500, 500)])
def test_a_killed_step_makes_each_call_once_in_all(
    platform: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, calls: int, executions_before: int
) -> None:
    """It is killed in the first or in the second of two sets of calls, while some of them run."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    platform.create_bucket(bucket)
    for name, value in {
        BUCKET: bucket,
        URL: platform.function_url,
        RESULTS: str(tmp_path / "results"),
        CALLS: str(calls),
    }.items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "home"
    home.mkdir()
    with instance_for_test(temp_dir=str(home)) as instance:
        with run_process(python_command("-c", EXECUTE), ready=r"\[pipes\] (calling)") as child:
            wait_until(lambda: len(platform.figures().executions) >= executions_before, 60)
            child.process.send_signal(signal.SIGKILL)
            child.process.wait(60)
        (run,) = instance.get_runs(limit=1)
        assert run.status is DagsterRunStatus.STARTED
        instance.report_run_failed(run)  # as run monitoring does
        options = ReexecutionOptions.from_failure(run.run_id, instance)
        tags = {"dagster/is_resume_retry": "true"}  # as the UI and the daemon have it
        with execute_job(reconstructable(job), instance, tags=tags, reexecution_options=options) as result:
            assert result.success
    keys = [f"{group}{number}" for group in ("first", "second") for number in range(calls)]
    assert json.loads((tmp_path / "results").read_text()) == {key: key for key in keys}
    assert platform.figures().executions == dict.fromkeys(keys, 1)
