"""What adopts the function of a step that is interrupted, as Dagster's own settings and records say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, Failure, OpExecutionContext, RetryPolicy, instance_for_test, job, op
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.utils import make_new_run_id

from dagster_gcf_pipes._adopters import find_adopter

SESSION = "gs://bucket/dagster-pipes/run/step/session/"
RETRIES = {"run_retries": {"enabled": True, "max_retries": 1}}
MONITORING = {
    "run_monitoring": {"enabled": True, "max_resume_run_attempts": 1},
    "run_launcher": {"module": "tests.integration.test_adopters", "class": "ResumingRunLauncher"},
}
NOTHING, STEP, RUN = "", "the step's retry", "the run's retry"
Action = Callable[[DagsterInstance, DagsterRun], Any]


class ResumingRunLauncher(DefaultRunLauncher):
    """Says that it can resume a run, as that of Kubernetes does."""

    @property
    def supports_resume_run(self) -> bool:
        return True


def adopter(
    settings: dict[str, Any] | None,
    *,
    home: Path,
    tags: dict[str, str] | None = None,
    max_retries: int = 0,
    before: Action = lambda *_: None,
    interrupted: bool = True,
) -> list[str]:
    """Return what each attempt of a step finds, in a run with an instance of these settings."""
    found: list[str] = []

    @op(retry_policy=RetryPolicy(max_retries=max_retries))
    def call(context: OpExecutionContext) -> None:
        before(context.instance, context.dagster_run)
        step = context.get_step_execution_context()
        found.append(find_adopter(step, SESSION, interrupted=interrupted))
        if context.retry_number < max_retries:
            raise Failure

    @job
    def calling() -> None:
        call()

    with instance_for_test(settings, temp_dir=str(home)) as instance:
        calling.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    return found


def canceling(instance: DagsterInstance, run: DagsterRun) -> None:
    instance.report_run_canceling(run)


def retried(instance: DagsterInstance, run: DagsterRun) -> None:
    """Another run goes on with this one, which Dagster took for dead."""
    instance.report_run_failed(run)
    tags = {"dagster/parent_run_id": run.run_id, "dagster/root_run_id": run.run_id}  # as Dagster's daemon has them
    instance.add_run(
        DagsterRun("calling", make_new_run_id(), parent_run_id=run.run_id, root_run_id=run.run_id, tags=tags)
    )


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        (None, {}, [NOTHING]),
        (None, {"max_retries": 1}, [STEP, NOTHING]),
        (None, {"max_retries": 1, "before": canceling}, [NOTHING, NOTHING]),
        (None, {"max_retries": 1, "interrupted": False}, [NOTHING, NOTHING]),
        (RETRIES, {}, [RUN]),
        (RETRIES, {"before": canceling}, [NOTHING]),
        (RETRIES, {"tags": {"dagster/max_retries": "0"}}, [NOTHING]),
        (RETRIES, {"tags": {"dagster/max_retries": "many"}}, [NOTHING]),
        (RETRIES, {"tags": {"dagster/retry_strategy": "ALL_STEPS"}}, [NOTHING]),
        ({"run_retries": {"enabled": True}}, {}, [NOTHING]),
        ({"run_retries": {"enabled": True}}, {"tags": {"dagster/max_retries": "2"}}, [RUN]),
        (None, {"tags": {"dagster/max_retries": "2"}}, [NOTHING]),
        (MONITORING, {}, ["the resumed run"]),
        (RETRIES, {"before": retried}, ["a later attempt of the step"]),
        (None, {"before": retried, "interrupted": False}, ["a later attempt of the step"]),
    ],
)
def test_who_adopts(
    settings: dict[str, Any] | None, options: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    assert adopter(settings, home=tmp_path, **options) == expected


def test_nothing_adopts_without_an_instance_that_lasts() -> None:
    found: list[str] = []

    @op(retry_policy=RetryPolicy(max_retries=1))
    def call(context: OpExecutionContext) -> None:
        found.append(find_adopter(context.get_step_execution_context(), SESSION, interrupted=True))

    @job
    def calling() -> None:
        call()

    calling.execute_in_process()
    assert found == [NOTHING]
    assert find_adopter(None, SESSION, interrupted=True) == NOTHING
