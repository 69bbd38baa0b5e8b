"""Finds out whether a later attempt of a step adopts its running function, so that nobody should stop it.

A termination by a user sets the status of the run before the signal comes. A deployment, an eviction or a spot instance
that is taken away sends the same signal, and leaves the status as it is.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from dagster import DagsterRun, DagsterRunStatus, StepExecutionContext

from dagster_gcf_pipes._errors import PipesCloudFunctionCallError
from dagster_gcf_pipes._launches import is_adopted

_CANCELLED: Final = frozenset({DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED})
_MAX_RETRIES_TAG: Final = "dagster/max_retries"
_STRATEGY_TAG: Final = "dagster/retry_strategy"
"""Source: https://docs.dagster.io/deployment/execution/run-retries."""
_ALL_STEPS: Final = "ALL_STEPS"


def find_adopter(step: StepExecutionContext | None, session: str, *, interrupted: bool) -> str:
    """Return what adopts the function of a step, or an empty text if a user has cancelled the run, or if nothing does.

    Args:
        step: The step, or None if nothing may adopt its functions.
        session: The URI of the function's session.
        interrupted: Whether the step ends before its call has, so that its next attempt can adopt the function.
    """
    if step is None or step.instance.is_ephemeral:
        return ""
    run = step.instance.get_run_by_id(step.run_id)
    if run is None or run.status in _CANCELLED:
        return ""
    if is_adopted(step, session) or _has_successor(step, run):
        return "a later attempt of the step"
    return next(_adopters(step, run), "") if interrupted else ""


def _adopters(step: StepExecutionContext, run: DagsterRun) -> Iterator[str]:
    if step.instance.run_will_resume(step.run_id):
        yield "the resumed run"
    policy = step.op_retry_policy
    if policy and not step.retry_mode.disabled and step.previous_attempt_count < policy.max_retries:
        yield "the step's retry"
    if _will_be_retried(step, run):
        yield "the run's retry"


def refuse_ended_run(step: StepExecutionContext | None) -> None:
    """Refuse to call a function in a run that is cancelled, or that has ended.

    Dagster retries a cancelled step that runs in the process of its run: an interrupt is an error like any other there.
    It may also have taken the process of the run for dead, and retried the run, while the step goes on. A step asks
    after it has recorded its launch. So the retry finds the launch, or the step finds that the run has ended.

    Raises:
        PipesCloudFunctionCallError: The run is cancelled, or has ended.
    """
    run = step.instance.get_run_by_id(step.run_id) if step else None
    if run and (run.is_finished or run.status in _CANCELLED):
        raise PipesCloudFunctionCallError(
            f"The run has the status {run.status.value}: the step does not call the function.", allow_retries=False
        )


def _has_successor(step: StepExecutionContext, run: DagsterRun) -> bool:
    """Whether another run goes on with this run: Dagster took its process for dead."""
    return any(other.parent_run_id == run.run_id for other in _run_group(step, run))


def _run_group(step: StepExecutionContext, run: DagsterRun) -> Sequence[DagsterRun]:
    group = step.instance.get_run_group(run.run_id)
    return group[1] if group else ()


def _will_be_retried(step: StepExecutionContext, run: DagsterRun) -> bool:
    """Whether Dagster's daemon retries the run from its failure.

    Source: dagster/_core/execution/retries.py, `auto_reexecution_should_retry_run`, which counts the run's group.
    """
    if not step.instance.run_retries_enabled or run.tags.get(_STRATEGY_TAG) == _ALL_STEPS:
        return False
    tag = run.tags.get(_MAX_RETRIES_TAG, str(step.instance.run_retries_max_retries))
    most = int(tag) if tag.isdecimal() else 0
    return 0 < len(_run_group(step, run)) <= most
