"""Keeps what a function reported before its run failed: a step that fails cannot return it any more."""

from collections.abc import Iterator

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    MaterializeResult,
    OpExecutionContext,
    PipesSession,
)

from dagster_gcf_pipes._metadata import Metadata

DATA_VERSION_TAG = "dagster/data_version"
"""Source: `dagster.DataVersion`, which Dagster stores in this tag of a materialization."""


def keep_results(
    context: OpExecutionContext | AssetExecutionContext, session: PipesSession, metadata: Metadata
) -> None:
    """Log the materializations and checks that the function has reported as events of the run.

    What is reported of an asset that is not this step's is left out: of a step that succeeds Dagster would refuse it.
    """
    partition = context.partition_key if context.has_partition_key else None
    for event in _events(session, metadata, partition):
        if event.asset_key in _assets(context) or not context.has_assets_def:
            context.log_event(event)  # type: ignore[arg-type]  # it takes check evaluations, but its annotation has them not


def _assets(context: OpExecutionContext | AssetExecutionContext) -> set[AssetKey]:
    return {*context.selected_asset_keys, *(check.asset_key for check in context.selected_asset_check_keys)}


def _events(
    session: PipesSession, metadata: Metadata, partition: str | None
) -> Iterator[AssetMaterialization | AssetCheckEvaluation]:
    for result in session.get_reported_results():
        both = {**(result.metadata or {}), **metadata}
        if isinstance(result, MaterializeResult) and result.asset_key:
            tags = {DATA_VERSION_TAG: result.data_version.value} if result.data_version else None
            yield AssetMaterialization(result.asset_key, metadata=both, partition=partition, tags=tags)
        elif isinstance(result, AssetCheckResult) and result.asset_key and result.check_name:
            yield AssetCheckEvaluation(
                asset_key=result.asset_key,
                check_name=result.check_name,
                passed=result.passed,
                severity=result.severity,
                metadata=both,
            )
