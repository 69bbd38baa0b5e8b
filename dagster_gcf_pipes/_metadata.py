"""The metadata that are shown beside what a function reports: their namespace, and how they are added."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from dagster import MetadataValue

Metadata: TypeAlias = Mapping[str, MetadataValue]

METADATA_PREFIX: Final = "cloud_function/"
"""Starts each key of ours, so that it meets none of a function's own."""


def add_metadata(reported: Mapping[str, Any] | None, ours: Metadata) -> dict[str, Any]:
    """Return the metadata that a function reported, with ours behind them; a key that it reported stays its own."""
    reported = reported or {}
    return {**reported, **ours, **reported}
