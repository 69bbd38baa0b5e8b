"""Assets that call a function, their runs, and what Dagster logs of a run."""

from collections.abc import Callable, Sequence
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetExecutionContext,
    AssetMaterialization,
    AssetsDefinition,
    DagsterEventType,
    DagsterInstance,
    ExecuteInProcessResult,
    MaterializeResult,
    asset,
    materialize,
)

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from tests.waiting import wait_for_cleanup


def calling_asset(
    url: str,
    event: dict[str, Any],
    *,
    name: str = "orders",
    extras: dict[str, Any] | None = None,
    on_invocation: Callable[[PipesCloudFunctionCompletedInvocation], None] = lambda _: None,
    **asset_arguments: Any,
) -> Any:
    """Return an asset that calls a function with the resource `cloud_function`."""

    @asset(name=name, **asset_arguments)
    def calls(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        invocation = cloud_function.run(context=context, function_url=url, event=event, extras=extras)
        on_invocation(invocation)
        return invocation.get_materialize_result()

    return calls


def run(
    assets: Sequence[AssetsDefinition] | AssetsDefinition, client: PipesCloudFunctionClient, **arguments: Any
) -> tuple[ExecuteInProcessResult, list[str]]:
    """Materialize assets in a new Dagster instance; return the result and the log lines in order.

    It returns when the messages are deleted.
    """
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [assets] if isinstance(assets, AssetsDefinition) else assets,
            resources={"cloud_function": client},
            instance=instance,
            raise_on_error=False,
            **arguments,
        )
        wait_for_cleanup()
        return result, logged(instance, result.run_id)


def logged(instance: DagsterInstance, run_id: str) -> list[str]:
    """Return the function's log lines: neither Dagster's events nor our own lines. An entry may have several."""
    entries = [entry.user_message for entry in instance.all_logs(run_id) if not entry.is_dagster_event]
    return [line for entry in entries if not entry.startswith("[pipes]") for line in entry.split("\n")]


def materializations(instance: DagsterInstance, run_id: str) -> list[AssetMaterialization]:
    """Return the materializations of a run, also those of a failed step."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    return [event.materialization for event in events if event.is_step_materialization]


def check_evaluations(instance: DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    """Return the check evaluations of a run, also those of a failed step."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    evaluation = DagsterEventType.ASSET_CHECK_EVALUATION
    return [event.asset_check_evaluation_data for event in events if event.event_type == evaluation]


def step_error(result: ExecuteInProcessResult, step: str = "orders") -> str:
    """Return the text of a failed step's error, with its causes."""
    failure = result.failure_data_for_node(step)
    if failure is None or failure.error is None:
        raise AssertionError(f"Expected the step {step} to have failed with an error, got {failure}")
    return failure.error.to_string()


def failure_text(result: ExecuteInProcessResult, step: str = "orders") -> str:
    """Return what a user reads of a failed step: the description of its failure."""
    failure = result.failure_data_for_node(step)
    assert failure, "the run succeeded"
    assert failure.user_failure_data, failure.error
    return str(failure.user_failure_data.description)
