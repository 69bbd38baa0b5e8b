"""The peak memory of a function when it last computed an asset, for the error of a function that ran out of memory."""

import re
from itertools import islice
from typing import Final

from dagster import AssetKey, MetadataValue

from dagster_gcf_pipes._contexts import CallingContext
from dagster_gcf_pipes._errors import METADATA_PREFIX

MAX_ASSETS: Final = 10
"""Assets of the step whose last materialization is looked up. They usually have the same figures."""


def describe_last_peak(context: CallingContext) -> str:
    """Return a sentence about the peak memory in the last materialization of the step's assets, or an empty text."""
    keys = sorted(context.selected_asset_keys) if context.has_assets_def else []
    return next(filter(None, (_describe(context, key) for key in islice(keys, MAX_ASSETS))), "")


def _describe(context: CallingContext, key: AssetKey) -> str:
    event = context.instance.get_latest_materialization_event(key)
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
    peak = _value(metadata.get(f"{METADATA_PREFIX}peak_memory_mib"))
    if not isinstance(peak, float):
        return ""
    limit = re.match(r"\d{1,7}(?= MiB)", str(_value(metadata.get(f"{METADATA_PREFIX}instance"))))
    used = f"{peak:.0f} of {limit[0]} MiB" if limit else f"{peak:.0f} MiB"
    return f"When {key.to_user_string()!r} was last materialized, the function used {used}."


def _value(metadata: MetadataValue | None) -> object:
    return metadata.value if metadata else None
