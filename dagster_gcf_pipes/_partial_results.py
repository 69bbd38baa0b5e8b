"""Reports what a function reported before its call failed. A failed step cannot return it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    AssetMaterialization,
    MaterializeResult,
    MultiPartitionKey,
    PipesSession,
)

from dagster_gcf_pipes._contexts import CallingContext
from dagster_gcf_pipes._errors import Metadata
from dagster_gcf_pipes._invocation import add_metadata

DATA_VERSION_TAG: Final = "dagster/data_version"
"""Source: `dagster.DataVersion`, which Dagster stores in this tag of a materialization."""
PARTITION_TAG: Final = "dagster/partition/"
"""Followed by a dimension's name: the tag with the key of one dimension of a partition.

Source: https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets ("Multi-dimensional").
"""


def report_partial_results(context: CallingContext, session: PipesSession, metadata: Metadata) -> None:
    """Log the reported results as the events that Dagster logs for a step that succeeds.

    An asset gets one materialization for each partition of the run. Assets and checks of another step are left out:
    Dagster would refuse them, too, if the step succeeded.
    """
    for result in session.get_reported_results():
        if isinstance(result, MaterializeResult):
            for event in _materializations(context, result, add_metadata(result.metadata, metadata)):
                context.log_event(event)
        elif evaluation := _evaluation(context, result, add_metadata(result.metadata, metadata)):
            context.log_event(evaluation)  # type: ignore[arg-type]  # its annotation leaves checks out


def _materializations(
    context: CallingContext, result: "MaterializeResult[Any]", metadata: Metadata
) -> Iterator[AssetMaterialization]:
    if result.asset_key is None or (context.has_assets_def and result.asset_key not in context.selected_asset_keys):
        return
    version = {DATA_VERSION_TAG: result.data_version.value} if result.data_version else {}
    for partition in _partitions(context, result.asset_key):
        tags = {**version, **_dimensions(partition)}
        yield AssetMaterialization(result.asset_key, metadata=metadata, partition=partition, tags=tags)


def _partitions(context: CallingContext, asset_key: AssetKey) -> Sequence[str | None]:
    """Return the partitions of an asset that the step materializes; for an unpartitioned asset a single None."""
    if not context.has_assets_def:
        return [context.partition_key if context.has_partition_key else None]
    if context.assets_def.specs_by_key[asset_key].partitions_def is None:
        return [None]  # a run may have both kinds of assets
    return context.partition_keys if context.has_partition_key or context.has_partition_key_range else [None]


def _dimensions(partition: str | None) -> Mapping[str, str]:
    """Return the tags of the dimensions of a partition."""
    if not isinstance(partition, MultiPartitionKey):
        return {}
    return {f"{PARTITION_TAG}{dimension}": key for dimension, key in partition.keys_by_dimension.items()}


def _evaluation(context: CallingContext, result: AssetCheckResult, metadata: Metadata) -> AssetCheckEvaluation | None:
    if result.asset_key is None or result.check_name is None:
        return None
    key = AssetCheckKey(result.asset_key, result.check_name)
    specs = {spec.key: spec for spec in context.assets_def.check_specs} if context.has_assets_def else {}
    spec = specs.get(key)
    if context.has_assets_def and spec is None:
        return None
    partitioned = spec is not None and spec.partitions_def is not None
    return AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.passed,
        severity=result.severity,
        metadata=metadata,
        blocking=spec.blocking if spec else None,
        partition=context.partition_key if partitioned and context.has_partition_key else None,
    )
