"""The namespace of the metadata that are shown beside what a function reports."""

from typing import Final

METADATA_PREFIX: Final = "cloud_function/"
"""Starts each key of ours, so that it meets none of a function's own."""
