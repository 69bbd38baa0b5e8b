"""The Dagster contexts from which you can call a function."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetExecutionContext,
    DagsterError,
    MultiPartitionsDefinition,
    OpExecutionContext,
    PartitionKeyRange,
    PartitionsDefinition,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
    TimeWindowPartitionsDefinition,
)

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

CallingContext: TypeAlias = OpExecutionContext | AssetExecutionContext
"""The contexts that `open_pipes_session` accepts."""
PARTITION_KEYS_EXTRA: Final = "partition_keys"
"""The key of `pipes.extras` with the partitions of a range that its first and last key do not tell."""


def calling_context(context: object) -> CallingContext:
    """Return the context for Pipes of the context that was passed to `run`.

    Raises:
        PipesCloudFunctionRequestError: It is not the context of a step.
    """
    if isinstance(context, AssetCheckExecutionContext):
        return context.op_execution_context
    if isinstance(context, CallingContext):
        return context
    if isinstance(context, SensorEvaluationContext | ScheduleEvaluationContext):
        fix = "Return a `RunRequest` for a job, and call the function in an asset or an op of that job."
    else:
        fix = "Call `run` in an asset, an op or an asset check, and pass its `context`."
    raise _context_error(context, fix)


def checked_assets(context: CallingContext) -> Sequence[str]:
    """Return the keys of the assets that a step checks, in the format of Pipes. It raises like `selection`."""
    return sorted({check.asset_key.to_escaped_user_string() for check in _selected_checks(context)})


def selection(context: CallingContext) -> Mapping[str, Sequence[str]]:
    """Return the assets, with their code versions, and the checks of a step. Its retry may have others.

    Raises:
        PipesCloudFunctionRequestError: The context comes from `build_op_context` and has no step yet.
    """
    checks = _selected_checks(context)
    versions = context.assets_def.code_versions_by_key if context.has_assets_def else {}
    assets = context.selected_asset_keys if context.has_assets_def else ()
    return {
        "assets": sorted(f"{key.to_user_string()} {versions.get(key)}" for key in assets),
        "checks": sorted(key.to_user_string() for key in checks),
    }


def _selected_checks(context: CallingContext) -> Collection[AssetCheckKey]:
    try:
        return context.selected_asset_check_keys
    except DagsterError as error:
        fix = "In a test, call the asset or the op itself with `build_asset_context()` or `build_op_context()`."
        raise _context_error(context, fix) from error


def _context_error(context: object, fix: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(
        f"Expected the context of an asset, an op or an asset check, got {type(context).__name__}.\nFix: {fix}",
    )


def step_path(context: CallingContext) -> str:
    """Return the run and the step. A dynamic step's key has brackets, a pattern for Cloud Storage's tools."""
    try:
        step = context.get_step_execution_context()
    except DagsterError:
        return "direct_invocation"  # `build_asset_context()` of a test has neither run nor step
    return f"{step.run_id}/{re.sub(r'[^A-Za-z0-9._-]', '_', step.step.key)}"


def partitions_definition(context: CallingContext) -> PartitionsDefinition[Any] | None:
    """Return the definition of a step's partitions, or None if it has none. A step of checks has those of its run."""
    if context.has_assets_def and context.selected_asset_keys:
        return context.assets_def.partitions_def
    try:
        return context.get_step_execution_context().run_partitions_def
    except DagsterError:
        return None  # `build_op_context()` of a test has no step


def partition_data(definition: PartitionsDefinition[Any], keys: PartitionKeyRange) -> Mapping[str, Any]:
    """Return the partitions as they are in the data of a Pipes context."""
    return {
        "partition_key": keys.start if keys.start == keys.end else None,
        "partition_key_range": {"start": keys.start, "end": keys.end},
        "partition_time_window": _time_window(definition, keys),
    }


def range_data(context: CallingContext) -> Mapping[str, Any]:
    """Return the partitions of a step with a range, in the form of the Pipes context. Otherwise return nothing.

    Dagster leaves them out if the run has no single partition key, also if the range has only one key.
    Source: dagster/_core/pipes/context.py, `build_external_execution_context_data`.
    """
    definition = _definition_of_range(context)
    return partition_data(definition, context.partition_key_range) if definition else {}


def range_extras(context: CallingContext) -> Mapping[str, Any]:
    """Return the keys of a range as extras, if only Dagster can list them. Otherwise return nothing.

    The keys of a time window follow from its start and end. Those of other partitions, and those that a time window
    leaves out, only their definition knows.
    """
    definition = _definition_of_range(context)
    if definition is None or context.partition_key_range.start == context.partition_key_range.end:
        return {}
    if isinstance(definition, TimeWindowPartitionsDefinition) and not definition.exclusions:
        return {}
    return {PARTITION_KEYS_EXTRA: list(context.partition_keys)}


def _definition_of_range(context: CallingContext) -> PartitionsDefinition[Any] | None:
    if context.has_partition_key or not context.has_partition_key_range:
        return None
    return partitions_definition(context)


def _time_window(definition: PartitionsDefinition[Any], keys: PartitionKeyRange) -> Mapping[str, str] | None:
    """Return the window from the start of the first partition to the end of the last one, if they have one."""
    if isinstance(definition, MultiPartitionsDefinition):
        dimensions = [dimension.partitions_def for dimension in definition.partitions_defs]
        if sum(isinstance(dimension, TimeWindowPartitionsDefinition) for dimension in dimensions) != 1:
            return None
    elif not isinstance(definition, TimeWindowPartitionsDefinition):
        return None
    start = definition.time_window_for_partition_key(keys.start).start
    end = definition.time_window_for_partition_key(keys.end).end
    return {"start": start.isoformat(), "end": end.isoformat()}
