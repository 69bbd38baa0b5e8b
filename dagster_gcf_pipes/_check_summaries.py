"""The result of a check that several calls of a step have evaluated."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Final

from dagster import AssetCheckResult, AssetCheckSeverity, AssetKey, PipesExecutionResult

MAX_NAMES: Final = 20
MAX_NAME_LENGTH: Final = 100
"""Characters of a key in a message."""


def check_summaries(results: Mapping[str, Sequence[PipesExecutionResult]], noun: str) -> list[AssetCheckResult]:
    """Return one result for each check. It has failed if it has failed for a call.

    Args:
        results: The results of each call, by its key.
        noun: What the keys name, in the plural.
    """
    by_check: dict[tuple[AssetKey | None, str | None], dict[str, AssetCheckResult]] = defaultdict(dict)
    for key, of_partition in results.items():
        for result in of_partition:
            if isinstance(result, AssetCheckResult):
                by_check[result.asset_key, result.check_name][key] = result
    return [_check_summary(of_check, noun) for of_check in by_check.values()]


def _check_summary(results: Mapping[str, AssetCheckResult], noun: str) -> AssetCheckResult:
    """Return the most severe failure, or a success; its text says for which partitions."""
    failed = {key: result for key, result in results.items() if not result.passed}
    worst = min((failed or results).values(), key=lambda result: result.severity != AssetCheckSeverity.ERROR)
    outcome = f"Failed for {len(failed)}: {names(failed)}." if failed else "Passed for all."
    return AssetCheckResult(
        asset_key=worst.asset_key,
        check_name=worst.check_name,
        passed=worst.passed,
        severity=worst.severity,
        description=f"Evaluated for {len(results)} {noun}. {outcome}",
    )


def names(keys: Collection[str]) -> str:
    """Return the first keys, and how many more there are."""
    more = f" and {len(keys) - MAX_NAMES} more" if len(keys) > MAX_NAMES else ""
    return ", ".join(map(name, islice(keys, MAX_NAMES))) + more


def name(key: str) -> str:
    """Return a key as text of bounded length."""
    return f"{str(key)!r:.{MAX_NAME_LENGTH}}"
