"""What Dagster shows of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    EventLogEntry,
    MetadataValue,
)

from dagster_gcf_pipes import PipesCloudFunctionCompletedInvocation
from tests.dagster_runs import check_evaluations, logged, materializations

LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}


@dataclass(frozen=True)
class Shown:
    """What Dagster shows of a run that has ended.

    Attributes:
        run_id: Its id.
        status: Its status.
        entries: Its log.
        lines: The function's log lines.
        materializations: What it materialized.
        checks: The checks that it evaluated.
        invocations: What the calls returned to the step.
    """

    run_id: str
    status: DagsterRunStatus
    entries: Sequence[EventLogEntry]
    lines: list[str]
    materializations: list[AssetMaterialization]
    checks: list[AssetCheckEvaluation]
    invocations: list[PipesCloudFunctionCompletedInvocation]

    @property
    def success(self) -> bool:
        return self.status is DagsterRunStatus.SUCCESS

    @property
    def levels(self) -> list[tuple[str, str]]:
        """The level and the text of each entry of the function."""
        own = (each for each in self.entries if not each.is_dagster_event)
        return [
            (LEVELS[int(each.level)], each.user_message) for each in own if not each.user_message.startswith("[pipes]")
        ]

    @property
    def response(self) -> Any:
        """The JSON of the response of the only call."""
        (invocation,) = self.invocations
        assert invocation.response is not None, "the response did not arrive"
        return invocation.response.json()

    @property
    def custom_messages(self) -> list[Any]:
        """The custom messages of all calls."""
        return [each for invocation in self.invocations for each in invocation.get_custom_messages()]

    @property
    def errors(self) -> list[str]:
        """The error of each failed attempt of a step, with its causes."""
        events = [entry.dagster_event for entry in self.entries if entry.dagster_event]
        failed = [event for event in events if event.is_step_failure or event.is_step_up_for_retry]
        infos = [event.event_specific_data.error for event in failed]  # type: ignore[union-attr]
        return [info.to_string() for info in infos if info]

    @property
    def error(self) -> str:
        """The error of the only failed attempt."""
        assert self.errors, f"the run has no error: {self.status}, {self.text}"
        (error,) = self.errors
        return error

    @property
    def exception(self) -> str:
        """The function's exception with its stack and its causes, as the only event about it has it."""
        (error,) = [
            event.engine_event_data.error
            for event in (entry.dagster_event for entry in self.entries)
            if event and event.is_engine_event and event.engine_event_data.error
        ]
        return error.to_string()

    @property
    def traceback(self) -> str:
        """The traceback in the metadata of the only failure."""
        events = [entry.dagster_event for entry in self.entries if entry.dagster_event]
        (failure,) = [event.step_failure_data.user_failure_data for event in events if event.is_step_failure]
        assert failure, "the step failed, but not with a failure of ours"
        return str(failure.metadata["cloud_function/traceback"].value)

    @property
    def text(self) -> str:
        """The whole log."""
        return "\n".join(entry.user_message for entry in self.entries)

    @property
    def metadata(self) -> dict[str, MetadataValue[Any]]:
        """The metadata of the only materialization."""
        (materialization,) = self.materializations
        return dict(materialization.metadata)


def shown(instance: DagsterInstance, invocations: list[PipesCloudFunctionCompletedInvocation]) -> Shown:
    """Return what Dagster shows of the last run of an instance."""
    (run,) = instance.get_runs(limit=1)
    return Shown(
        run.run_id,
        run.status,
        instance.all_logs(run.run_id),
        logged(instance, run.run_id),
        materializations(instance, run.run_id),
        check_evaluations(instance, run.run_id),
        invocations,
    )
