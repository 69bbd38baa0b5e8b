"""The step behind `run_partitions`: one call for each partition, and the events that Dagster shows of each.

Dagster materializes all partitions of a run when the step ends, with the metadata and the data version of one result.
So this step logs each partition itself, and tells Dagster to leave the materializations of these outputs out.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    DagsterError,
    DataVersion,
    MaterializeResult,
    MetadataValue,
    PartitionKeyRange,
    PartitionsDefinition,
    PipesExecutionResult,
    PipesSession,
    TableRecord,
)
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    compute_logical_data_version,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from dagster_gcf_pipes._contexts import CallingContext, partition_data, partitions_definition
from dagster_gcf_pipes._errors import (
    METADATA_PREFIX,
    Metadata,
    PipesCloudFunctionError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionPartitionsError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes._results import (
    PipesCloudFunctionCompletedInvocation,
    PipesCloudFunctionCompletedPartitions,
    add_metadata,
    check_evaluation,
    dimension_tags,
)

MAX_NAMED_PARTITIONS: Final = 20
MAX_NAME_LENGTH: Final = 100
"""Characters of a partition key in a message."""
MAX_REASON_LENGTH: Final = 500
"""Characters of a failed call's description in the error of the step."""
_LOGGED: Final = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
"""The metadata of an output whose events its step has logged itself. Dagster then logs none, and goes on downstream.

Dagster has no public name for it. It uses it for the steps of observable source assets.
Source: dagster/_core/execution/plan/execute_step.py, `_log_materialization_or_observation_events_for_asset`.
"""


@dataclass(frozen=True)
class PartitionedStep:
    """A step that materializes partitions of assets.

    Attributes:
        context: The context of the step.
        definition: The definition of the partitions.
        keys: The partitions, in the order of the definition.
        outputs: The names of the outputs of the partitioned assets. A step may have assets without partitions too.
    """

    context: CallingContext
    definition: PartitionsDefinition[Any]
    keys: Sequence[str]
    outputs: Mapping[AssetKey, str]

    def data(self, key: str) -> Mapping[str, Any]:
        """Return a single partition as it is in the data of a Pipes context."""
        return partition_data(self.definition, PartitionKeyRange(key, key))

    def log_results(self, key: str, results: Sequence[PipesExecutionResult]) -> None:
        """Log what the function of a partition reported: its materializations, and its checks.

        Raises:
            PipesCloudFunctionMessagesError: The step cannot have these results. Then nothing is logged.
        """
        checks = [result for result in results if isinstance(result, AssetCheckResult)]
        evaluations = [check_evaluation(self.context, check, check.metadata, key) for check in checks]
        self._refuse_unexpected(results, evaluations)
        for asset_key, result in _by_asset(results).items():  # parents first
            if asset_key in self.outputs:
                self._log_materialization(key, asset_key, result)
        for evaluation in evaluations:
            self._log(evaluation)

    def log_failed_call(self, key: str, session: PipesSession, metadata: Metadata) -> None:
        """Log what the function of a partition reported before it failed. It does not materialize the partition."""
        for result in session.get_reported_results():
            merged = add_metadata(result.metadata, metadata)
            if isinstance(result, AssetCheckResult):
                self._log(check_evaluation(self.context, result, merged, key))
            elif result.asset_key and result.asset_key in self.outputs:
                tags = dimension_tags(key)
                self._log(AssetObservation(result.asset_key, metadata=merged, partition=key, tags=tags))

    def log_error(self, key: str, error: PipesCloudFunctionError) -> None:
        """Log why a partition failed."""
        self.context.log.error(f"[pipes] partition {_name(key)} failed: {error.description}")

    def log_check_summaries(self, results: Mapping[str, Sequence[PipesExecutionResult]]) -> None:
        """Log the results of the checks over all partitions, for a step that fails and returns none."""
        for summary in _check_summaries(results):
            self._log(check_evaluation(self.context, summary, summary.metadata))

    def end_outputs(self) -> None:
        """Tell Dagster that the partitions are materialized, whatever the asset returns."""
        for output in self.outputs.values():
            self.context.add_output_metadata(_LOGGED, output_name=output)

    def results(self, results: Mapping[str, Sequence[PipesExecutionResult]]) -> Sequence[PipesExecutionResult]:
        """Return the results of the step: one for each asset, parents first, and one for each check.

        An asset without partitions has the last result that a call reported.
        """
        last = _by_asset(chain.from_iterable(results.values()))
        ends = (MaterializeResult(asset_key=key) if key in self.outputs else last[key] for key in last)
        return [*ends, *_check_summaries(results)]

    def _refuse_unexpected(
        self, results: Sequence[PipesExecutionResult], evaluations: Sequence[AssetCheckEvaluation | None]
    ) -> None:
        """Refuse what Dagster refuses of a step: an asset or a check that it does not have, and an asset twice."""
        counts = Counter(result.asset_key for result in results if isinstance(result, MaterializeResult))
        unexpected = [key for key, count in counts.items() if key not in self.context.selected_asset_keys or count > 1]
        if unexpected or None in evaluations:
            raise PipesCloudFunctionMessagesError(
                "Expected the function to report the step's own assets and checks, and each asset once, got "
                f"{[key.to_user_string() for key in unexpected if key] or 'a check of another step'!s:.300}.",
                allow_retries=False,
            )

    def _log(self, event: "AssetMaterialization | AssetObservation | AssetCheckEvaluation | None") -> None:
        if event:
            self.context.log_event(event)  # type: ignore[arg-type]  # its annotation leaves checks out

    def _log_materialization(self, key: str, asset_key: AssetKey, result: "MaterializeResult[Any]") -> None:
        tags = {**self._version_tags(asset_key, result.data_version), **dimension_tags(key), **(result.tags or {})}
        self._log(AssetMaterialization(asset_key, metadata=result.metadata, partition=key, tags=tags))

    def _version_tags(self, asset_key: AssetKey, data_version: DataVersion | None) -> Mapping[str, str]:
        """Return the tags with code version, data version and provenance that Dagster adds to a materialization.

        Source: dagster/_core/execution/plan/execute_step.py, `_get_output_asset_events`.
        """
        try:
            step = self.context.get_step_execution_context()
        except DagsterError:  # `build_asset_context()` of a test has no step
            return {DATA_VERSION_TAG: data_version.value} if data_version else {}
        tags, inputs = {}, {}
        for parent in sorted(self.context.assets_def.asset_deps[asset_key]):
            if parent in self.outputs:
                step.wipe_input_asset_version_info(parent)  # this step has just materialized it
            info = step.maybe_fetch_and_get_input_asset_version_info(parent)
            inputs[parent] = (info.data_version if info else None) or DEFAULT_DATA_VERSION
            tags[get_input_data_version_tag(parent)] = inputs[parent].value
            tags[get_input_event_pointer_tag(parent)] = str(info.storage_id) if info else NULL_EVENT_POINTER
        code_version = self.context.assets_def.code_versions_by_key[asset_key] or self.context.run_id
        version = data_version or compute_logical_data_version(code_version, inputs)
        tags |= {CODE_VERSION_TAG: code_version, DATA_VERSION_TAG: version.value}
        return {**tags, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"} if data_version else tags


def partitioned_step(context: CallingContext) -> PartitionedStep:
    """Return the step of a context.

    Raises:
        PipesCloudFunctionRequestError: It materializes no partitions.
    """
    if not context.has_assets_def or not context.selected_asset_keys:
        raise _refusal("a step without assets", "Call `run` in an op or an asset check.")
    definition = partitions_definition(context)
    if definition is None:
        raise _refusal("an asset without partitions", "Call `run`, or give the asset a `partitions_def`.")
    if not context.has_partition_key and not context.has_partition_key_range:
        raise _refusal("a run without partitions", "Choose a partition or a range when you launch the run.")
    keys = context.partition_keys
    if not keys:
        raise _refusal(f"no partition in {context.partition_key_range!r:.300}", "Name the first partition first.")
    outputs = _outputs(context)
    if not context.selected_asset_keys <= outputs.keys():
        fix = "Call it in an `@asset` or a `@multi_asset`, or in the op that returns the results of the graph."
        raise _refusal("an inner op of a graph-backed asset", fix)
    specs = context.assets_def.specs_by_key
    partitioned = {key: output for key, output in outputs.items() if specs[key].partitions_def is not None}
    return PartitionedStep(context, definition, keys, partitioned)


def call_each(
    step: PartitionedStep, call: Callable[[str], PipesCloudFunctionCompletedInvocation]
) -> PipesCloudFunctionCompletedPartitions:
    """Call the function for each partition, one after another, and log each as soon as its call has ended.

    Args:
        step: The step.
        call: Makes the call of a partition.

    Raises:
        PipesCloudFunctionPartitionsError: The calls of some partitions failed. All others are materialized.
    """
    invocations: dict[str, PipesCloudFunctionCompletedInvocation] = {}
    errors: dict[str, PipesCloudFunctionError] = {}
    for number, key in enumerate(step.keys, start=1):
        step.context.log.info(f"[pipes] partition {_name(key)}, {number} of {len(step.keys)}")
        try:
            invocation = call(key)
            step.log_results(key, invocation.get_results())
        except PipesCloudFunctionError as error:
            errors[key] = error.with_traceback(None)  # its frames hold the whole call
            step.log_error(key, error)
        else:
            invocations[key] = invocation
    results = {key: invocation.get_results() for key, invocation in invocations.items()}
    if errors:
        step.log_check_summaries(results)
        raise _error(errors, len(step.keys))
    step.end_outputs()
    return PipesCloudFunctionCompletedPartitions(invocations, step.results(results))


def _refusal(got: str, fix: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(
        f"Expected `run_partitions` in a step that materializes partitions of assets, got {got}.\nFix: {fix}"
    )


def _outputs(context: CallingContext) -> Mapping[AssetKey, str]:
    """Return the names of the step's outputs that are assets."""
    try:
        outputs = context.get_step_execution_context().step.step_outputs
    except DagsterError:  # `build_asset_context()` of a test has no step
        return {key: context.assets_def.get_output_name_for_asset_key(key) for key in context.selected_asset_keys}
    return {output.properties.asset_key: output.name for output in outputs if output.properties.asset_key}


def _by_asset(results: Iterable[PipesExecutionResult]) -> Mapping[AssetKey, "MaterializeResult[Any]"]:
    """Return the last materialization of each asset, in the order of the results."""
    materialized = (result for result in results if isinstance(result, MaterializeResult))
    return {result.asset_key: result for result in materialized if result.asset_key}


def _check_summaries(results: Mapping[str, Sequence[PipesExecutionResult]]) -> list[AssetCheckResult]:
    """Return one result for each check. It has failed if it has failed for a partition."""
    by_check: dict[tuple[AssetKey | None, str | None], dict[str, AssetCheckResult]] = defaultdict(dict)
    for key, of_partition in results.items():
        for result in of_partition:
            if isinstance(result, AssetCheckResult):
                by_check[result.asset_key, result.check_name][key] = result
    return [_check_summary(of_check) for of_check in by_check.values()]


def _check_summary(results: Mapping[str, AssetCheckResult]) -> AssetCheckResult:
    """Return the most severe failure, or a success; its text says for which partitions."""
    failed = {key: result for key, result in results.items() if not result.passed}
    worst = min((failed or results).values(), key=lambda result: result.severity != AssetCheckSeverity.ERROR)
    outcome = f"Failed for {len(failed)}: {_names(failed)}." if failed else "Passed for all."
    return AssetCheckResult(
        asset_key=worst.asset_key,
        check_name=worst.check_name,
        passed=worst.passed,
        severity=worst.severity,
        description=f"Evaluated for {len(results)} partitions. {outcome}",
    )


def _error(errors: Mapping[str, PipesCloudFunctionError], total: int) -> PipesCloudFunctionPartitionsError:
    counts = Counter(type(error).__name__ for error in errors.values()).most_common()
    first = next(iter(errors.values()))
    error = PipesCloudFunctionPartitionsError(
        f"{len(errors)} of {total} partitions failed: {_names(errors)}.\n"
        f"Errors: {', '.join(f'{count} {name}' for name, count in counts)}. "
        f"The first: {first.description!s:.{MAX_REASON_LENGTH}}\n"
        f"The other {total - len(errors)} are materialized.\nFix: Launch a backfill of the missing partitions.",
        {f"{METADATA_PREFIX}failed_partitions": MetadataValue.table([*_rows(errors)])},
        allow_retries=any(error.allow_retries for error in errors.values()),
    )
    error.errors = errors
    return error


def _rows(errors: Mapping[str, PipesCloudFunctionError]) -> Iterator[TableRecord]:
    for key, error in islice(errors.items(), MAX_NAMED_PARTITIONS):
        reason = str(error.description)[:MAX_REASON_LENGTH]
        yield TableRecord({"partition": key[:MAX_NAME_LENGTH], "error": type(error).__name__, "description": reason})


def _names(keys: Collection[str]) -> str:
    more = f" and {len(keys) - MAX_NAMED_PARTITIONS} more" if len(keys) > MAX_NAMED_PARTITIONS else ""
    return ", ".join(map(_name, islice(keys, MAX_NAMED_PARTITIONS))) + more


def _name(key: str) -> str:
    return f"{str(key)!r:.{MAX_NAME_LENGTH}}"
