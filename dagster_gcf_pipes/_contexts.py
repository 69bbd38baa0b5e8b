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
    if isinstance(context, CallingContext) and _is_in_a_step(context):
        return context
    if isinstance(context, SensorEvaluationContext | ScheduleEvaluationContext):
        fix = "Return a `RunRequest` for a job, and call the function in an asset or an op of that job."
    else:
        fix = (
            "Call `run` in an asset, an op or an asset check, and pass on the `context` that it was given. In a test, "
            "call the asset or the op itself with `build_asset_context()` or `build_op_context()`."
        )
    raise PipesCloudFunctionRequestError(
        f"Expected the context of an asset, an op or an asset check, got {type(context).__name__}. {fix}",
        allow_retries=False,
    )


def _is_in_a_step(context: CallingContext) -> bool:
    """Whether code runs in it: what `build_op_context` returns has no step until an op is called with it."""
    try:
        _ = context.has_assets_def
    except DagsterError:
        return False
    return True


def checked_assets(context: CallingContext) -> Sequence[str]:
    """Return the keys of the assets that a step checks, as Pipes writes them."""
    return sorted({check.asset_key.to_escaped_user_string() for check in context.selected_asset_check_keys})


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
