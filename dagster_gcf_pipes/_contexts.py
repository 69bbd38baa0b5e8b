"""The contexts of Dagster from which a function can be called."""

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
from dagster_pipes import PipesContextData

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

CallingContext: TypeAlias = OpExecutionContext | AssetExecutionContext
"""What Pipes takes."""


def calling_context(context: object) -> CallingContext:
    """Return the context that Pipes takes, in place of the one that `run` was given.

    Raises:
        PipesCloudFunctionRequestError: No step runs in it.
    """
    if isinstance(context, AssetCheckExecutionContext):
        return context.op_execution_context
    if isinstance(context, CallingContext):
        return context
    if isinstance(context, SensorEvaluationContext | ScheduleEvaluationContext):
        fix = "Return a `RunRequest` for a job, and call the function in an asset or an op of that job."
    else:
        fix = "Call `run` in an asset, an op or an asset check, and pass on the `context` that it was given."
    raise _context_error(context, fix)


def checked_assets(context: CallingContext) -> Sequence[str]:
    """Return the keys of the assets that a step checks, as Pipes writes them.

    Raises:
        PipesCloudFunctionRequestError: What `build_op_context` returned has no step: no op was called with it.
    """
    try:
        checks = context.selected_asset_check_keys
    except DagsterError as error:
        fix = "In a test, call the asset or the op itself with `build_asset_context()` or `build_op_context()`."
        raise _context_error(context, fix) from error
    return sorted({check.asset_key.to_escaped_user_string() for check in checks})


def with_assets(data: PipesContextData, asset_keys: Sequence[str]) -> PipesContextData:
    """Return the data of a context, with these assets if it has none of its own: so it is in a plain asset check.

    Of an asset that a step only checks, the step knows neither the code version nor the provenance.
    """
    if data["asset_keys"] or not asset_keys:
        return data
    unknown = dict.fromkeys(asset_keys)
    return {
        **data,
        "asset_keys": asset_keys,
        "code_version_by_asset_key": unknown,
        "provenance_by_asset_key": unknown,
    }


def _context_error(context: object, fix: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(
        f"Expected the context of an asset, an op or an asset check, got {type(context).__name__}. {fix}",
        allow_retries=False,
    )
