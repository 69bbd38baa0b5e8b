"""What `run_many` returns, and the error with which it fails a step."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

from dagster import AssetCheckResult, AssetKey, MaterializeResult, MetadataValue, TableRecord

from dagster_gcf_pipes._check_summaries import MAX_NAME_LENGTH, MAX_NAMES, check_summaries
from dagster_gcf_pipes._errors import (
    METADATA_PREFIX,
    Metadata,
    PipesCloudFunctionCallsError,
    PipesCloudFunctionError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes._many import ManyCalls, Outcome
from dagster_gcf_pipes._results import NotAResult, PipesCloudFunctionCompletedInvocation, add_metadata

MAX_REASON_LENGTH: Final = 500
"""Characters of a failed call's description in the error of the step."""


class PipesCloudFunctionCompletedCalls(NotAResult):
    """The results of many calls of a function.

    Attributes:
        calls: The results, or the error, of each call by its key, in the order of the keys. Calls that were not made,
            because the step stopped at a failure, are left out.
        succeeded: The results of the successful calls. Each has its `response` and its `get_custom_messages()`.
        failed: The errors of the failed calls.
        metadata: Numbers about all calls.
    """

    def __init__(
        self,
        calls: Mapping[str, Outcome],
        metadata: Metadata,
        asset_keys: Sequence[AssetKey] = (),
    ) -> None:
        self.calls = calls
        succeeded, failed = split_outcomes(calls)
        self.succeeded: Mapping[str, PipesCloudFunctionCompletedInvocation] = succeeded
        self.failed: Mapping[str, PipesCloudFunctionError] = failed
        self.metadata = metadata
        self._asset_keys = asset_keys

    def get_results(self) -> "tuple[MaterializeResult[Any] | AssetCheckResult, ...]":
        """Return the results of the step: one for each asset, and one for each check.

        Return them from the asset, or yield each. If a single call has reported an asset, its metadata and its data
        version are those of the asset. If several have, the asset has the metadata on which they agree. The result of a
        check has failed if the check has failed for a call.
        """
        reported = {key: call.get_results(implicit_materializations=False) for key, call in self.succeeded.items()}
        by_asset: dict[AssetKey, list[MaterializeResult[Any]]] = {key: [] for key in self._asset_keys}
        for result in chain.from_iterable(reported.values()):
            if isinstance(result, MaterializeResult) and result.asset_key:
                by_asset.setdefault(result.asset_key, []).append(result)
        materialized = (self._materialization(key, results) for key, results in by_asset.items())
        return (*materialized, *check_summaries(reported, "calls"))

    def get_materialize_result(self) -> "MaterializeResult[Any]":
        """Return the result of the step's only asset, with its checks.

        Raises:
            PipesCloudFunctionRequestError: The step has several assets, or none.
        """
        results = self.get_results()
        materialized = [result for result in results if isinstance(result, MaterializeResult)]
        if len(materialized) != 1:
            raise PipesCloudFunctionRequestError(
                f"Expected a step with one asset, got {len(materialized)}.\n"
                "Fix: Write `yield from cloud_function.run_many(...).get_results()`."
            )
        return materialized[0]._replace(check_results=[each for each in results if isinstance(each, AssetCheckResult)])

    def get_custom_messages(self) -> Sequence[Any]:
        """Return the custom messages of all successful calls, in the order of the keys."""
        return tuple(chain.from_iterable(call.get_custom_messages() for call in self.succeeded.values()))

    def _materialization(self, key: AssetKey, results: "Sequence[MaterializeResult[Any]]") -> "MaterializeResult[Any]":
        first = results[0] if results else MaterializeResult(asset_key=key)
        versions = {result.data_version for result in results}
        agreed = {
            name: value
            for name, value in (first.metadata or {}).items()
            if all((result.metadata or {}).get(name) == value for result in results[1:])
        }
        return MaterializeResult(
            asset_key=key,
            metadata=add_metadata(agreed, self.metadata),
            data_version=versions.pop() if len(versions) == 1 else None,
        )


def split_outcomes(
    outcomes: Mapping[str, Outcome],
) -> tuple[Mapping[str, PipesCloudFunctionCompletedInvocation], Mapping[str, PipesCloudFunctionError]]:
    """Return the successful calls, and the errors of the others."""
    errors = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, PipesCloudFunctionError)}
    return {
        key: outcome for key, outcome in outcomes.items() if not isinstance(outcome, PipesCloudFunctionError)
    }, errors


def metadata_of(calls: ManyCalls, wall_seconds: float) -> Metadata:
    """Return the numbers about all calls."""
    metadata = {
        f"{METADATA_PREFIX}calls": MetadataValue.int(len(calls.outcomes)),
        f"{METADATA_PREFIX}failed_calls": MetadataValue.int(calls.failures),
        f"{METADATA_PREFIX}adopted_calls": MetadataValue.int(calls.tally.adopted),
        f"{METADATA_PREFIX}cold_starts": MetadataValue.int(calls.tally.cold_starts),
        f"{METADATA_PREFIX}refused_attempts": MetadataValue.int(calls.pace.refusals),
        f"{METADATA_PREFIX}peak_concurrency": MetadataValue.int(calls.fan_out.posts.peak),
        f"{METADATA_PREFIX}wall_seconds": _seconds(wall_seconds),
    }
    durations = sorted(calls.tally.durations)
    if not durations:
        return metadata
    return {
        **metadata,
        f"{METADATA_PREFIX}p50_seconds": _seconds(_percentile(durations, 0.5)),
        f"{METADATA_PREFIX}p95_seconds": _seconds(_percentile(durations, 0.95)),
        f"{METADATA_PREFIX}max_seconds": _seconds(durations[-1]),
    }


def _seconds(value: float) -> MetadataValue[Any]:
    return MetadataValue.float(round(value, 3))


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed."""
    return ordered[math.ceil(len(ordered) * share) - 1]


def calls_error(
    errors: Mapping[str, PipesCloudFunctionError], total: int, tolerated: int, unmade: int, metadata: Metadata
) -> PipesCloudFunctionCallsError:
    """Return the error of a step whose calls failed.

    Args:
        errors: The errors of the failed calls, in the order of the keys.
        total: How many calls there are.
        tolerated: How many may fail.
        unmade: How many were not made, or were stopped.
        metadata: Numbers about all calls.
    """
    first = next(iter(errors.values()))
    limit = f", and {tolerated:,} may" if tolerated else ""
    stopped = f" {unmade:,} were not made, or were told to stop." if unmade else ""
    error = PipesCloudFunctionCallsError(
        f"{describe_failures(errors, total, 'calls')}{limit}.{stopped}\n"
        f"The first error: {first.description!s:.{MAX_REASON_LENGTH}}\n"
        "A retry of the step makes only the calls that have not succeeded.",
        {f"{METADATA_PREFIX}failures": failures_table(errors, "key"), **metadata},
        allow_retries=any(error.allow_retries for error in errors.values()),
    )
    error.errors = errors
    return error


def describe_failures(errors: Mapping[str, PipesCloudFunctionError], total: int, noun: str) -> str:
    """Return how many calls failed, which ones, and how many errors there are of each class."""
    counts = Counter(type(error).__name__ for error in errors.values()).most_common()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts)
    return f"{len(errors):,} of {total:,} {noun} failed ({kinds})"


def failures_table(errors: Mapping[str, PipesCloudFunctionError], column: str) -> MetadataValue[Any]:
    """Return the first failures as a table."""
    return MetadataValue.table([*_rows(errors, column)])


def _rows(errors: Mapping[str, PipesCloudFunctionError], column: str) -> Iterator[TableRecord]:
    for key, error in islice(errors.items(), MAX_NAMES):
        reason = str(error.description)[:MAX_REASON_LENGTH]
        yield TableRecord({column: key[:MAX_NAME_LENGTH], "error": type(error).__name__, "description": reason})
