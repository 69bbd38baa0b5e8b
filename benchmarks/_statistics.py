"""The one figure that the standard library's `statistics` does not give for a few values."""

from collections.abc import Sequence
from math import ceil


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least `percent` percent of them do not exceed."""
    return sorted(values)[ceil(len(values) * percent / 100) - 1]
