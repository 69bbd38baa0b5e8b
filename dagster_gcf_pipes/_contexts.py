"""The Dagster contexts from which you can call a function."""

import re
from collections.abc import Sequence
from typing import TypeAlias

from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    DagsterError,
    OpExecutionContext,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
)

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

CallingContext: TypeAlias = OpExecutionContext | AssetExecutionContext
"""The contexts that `open_pipes_session` accepts."""


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
    """Return the keys of the assets that a step checks, in the format of Pipes.

    Raises:
        PipesCloudFunctionRequestError: The context comes from `build_op_context` and has no step yet.
    """
    try:
        checks = context.selected_asset_check_keys
    except DagsterError as error:
        fix = "In a test, call the asset or the op itself with `build_asset_context()` or `build_op_context()`."
        raise _context_error(context, fix) from error
    return sorted({check.asset_key.to_escaped_user_string() for check in checks})


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
