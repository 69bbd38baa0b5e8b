"""Runs with a range of partitions, and what the function reports of each."""

from collections.abc import Sequence
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DailyPartitionsDefinition,
    ExecuteInProcessResult,
    materialize,
)

from dagster_gcf_pipes import PipesCloudFunctionClient

DAYS = DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
THREE_DAYS = ["2024-01-03", "2024-01-04", "2024-01-05"]
SALES = AssetKey("sales")
ODD_KEYS = ["a/b", "grün", 'it\'s "q"', "x..y", "a,b|c", "<b>&", " space ", "z" * 2000]


def tags(keys: Sequence[str]) -> dict[str, str]:
    """Return the tags of a run with the partitions from the first to the last key."""
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


def run_assets(
    instance: DagsterInstance, client: PipesCloudFunctionClient, assets: Sequence[Any], keys: Sequence[str] = THREE_DAYS
) -> ExecuteInProcessResult:
    """Materialize a range of partitions of assets in one run."""
    return materialize(
        assets, resources={"cloud_function": client}, instance=instance, tags=tags(keys), raise_on_error=False
    )


def essence(materialization: AssetMaterialization) -> tuple[str | None, Any, str | None]:
    """Return what the function reported of a partition."""
    day = materialization.metadata.get("day")
    version = (materialization.tags or {}).get("dagster/data_version")
    return materialization.partition, day and day.value, version


def expected(keys: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the essence of each partition, if the function reported it."""
    return [(key, key, f"version of {key}") for key in keys]
