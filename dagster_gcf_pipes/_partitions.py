"""The step behind `run_partitions`: one call for each partition, and the events that Dagster shows of each.

Dagster materializes all partitions of a run when the step ends, with the metadata and the data version of one result.
So this step logs each partition itself, and tells Dagster to leave the materializations of these outputs out.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    DagsterError,
    DataVersion,
    MaterializeResult,
    PartitionKeyRange,
    PartitionsDefinition,
    PipesExecutionResult,
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

from dagster_gcf_pipes._check_summaries import check_summaries, names
from dagster_gcf_pipes._contexts import CallingContext, partition_data, partitions_definition
from dagster_gcf_pipes._errors import (
    METADATA_PREFIX,
    Metadata,
    PipesCloudFunctionError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionPartitionsError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes._launches import logged_partitions
from dagster_gcf_pipes._made_call import MadeCall
from dagster_gcf_pipes._many import Outcome
from dagster_gcf_pipes._many_results import MAX_REASON_LENGTH, describe_failures, failures_table, split_outcomes
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
_RETURN_THE_RESULTS: Final = (
    "Fix: Return the results of `run_partitions`: write `return cloud_function.run_partitions(...)"
    ".get_materialize_result()`, and for several assets `yield from cloud_function.run_partitions(...).get_results()`."
)
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
        logged: The partitions of assets and checks that an earlier attempt of the step has logged.
    """

    context: CallingContext
    definition: PartitionsDefinition[Any]
    keys: Sequence[str]
    outputs: Mapping[AssetKey, str]
    logged: Collection[tuple[AssetKey | AssetCheckKey, str]] = frozenset()

    @property
    def depends_on_itself(self) -> bool:
        """Whether a partition of an asset may depend on an earlier one of the same asset."""
        dependencies = self.context.assets_def.asset_deps
        return any(asset_key in dependencies[asset_key] for asset_key in self.outputs)

    def data(self, key: str) -> Mapping[str, Any]:
        """Return a single partition as it is in the data of a Pipes context."""
        return partition_data(self.definition, PartitionKeyRange(key, key))

    def require_results(self) -> None:
        """Let Dagster demand that the step returns or yields results."""
        self.context.set_requires_typed_event_stream(error_message=_RETURN_THE_RESULTS)

    def log_call(self, key: str, invocation: PipesCloudFunctionCompletedInvocation, adopted: bool) -> None:
        """Log what the function of a partition reported: its materializations, and its checks.

        Args:
            key: The partition.
            invocation: The results of the call.
            adopted: Whether an earlier attempt of the step has made the call, and may have logged the results.

        Raises:
            PipesCloudFunctionMessagesError: The step cannot have these results. Then nothing is logged.
        """
        results = invocation.get_results()
        checks = [result for result in results if isinstance(result, AssetCheckResult)]
        evaluations = [check_evaluation(self.context, check, check.metadata, key) for check in checks]
        self._refuse_unexpected(results, evaluations)
        logged = self.logged if adopted else ()
        for asset_key, result in _by_asset(results).items():  # parents first
            if asset_key in self.outputs and (asset_key, key) not in logged:
                self.log_materialization(key, asset_key, result)
        for evaluation in evaluations:
            if evaluation and (evaluation.asset_check_key, key) not in logged:
                self._log(evaluation)

    def log_materialization(self, key: str, asset_key: AssetKey, result: "MaterializeResult[Any]") -> None:
        """Log a partition of an asset, with the tags that Dagster adds."""
        tags = {**self._version_tags(asset_key, result.data_version), **dimension_tags(key), **(result.tags or {})}
        self._log(AssetMaterialization(asset_key, metadata=result.metadata, partition=key, tags=tags))

    def log_failed_call(self, key: str, made: MadeCall | None) -> None:
        """Log what the function of a partition reported before it failed. It does not materialize the partition."""
        for result in made.session.get_reported_results() if made else ():
            merged = add_metadata(result.metadata, made.outcome.metadata if made else {})
            if isinstance(result, AssetCheckResult):
                self._log(check_evaluation(self.context, result, merged, key))
            elif result.asset_key and result.asset_key in self.outputs:
                tags = dimension_tags(key)
                self._log(AssetObservation(result.asset_key, metadata=merged, partition=key, tags=tags))

    def log_check_summaries(self, results: Mapping[str, Sequence[PipesExecutionResult]]) -> None:
        """Log the results of the checks over all partitions, for a step that fails and returns none."""
        for summary in check_summaries(results, "partitions"):
            self._log(check_evaluation(self.context, summary, summary.metadata))

    def end_outputs(self) -> None:
        """Tell Dagster that the partitions are materialized, whatever the asset returns."""
        for asset_key in self.outputs:
            self.end_output(asset_key)

    def end_output(self, asset_key: AssetKey) -> None:
        """Tell Dagster that this step itself logs which partitions of an asset are materialized."""
        self.context.add_output_metadata(_LOGGED, output_name=self.outputs[asset_key])

    def results(self, results: Mapping[str, Sequence[PipesExecutionResult]]) -> Sequence[PipesExecutionResult]:
        """Return the results of the step: one for each asset, parents first, and one for each check.

        An asset without partitions has the last result that a call reported.
        """
        last = _by_asset(chain.from_iterable(results.values()))
        ends = (MaterializeResult(asset_key=key) if key in self.outputs else last[key] for key in last)
        return [*ends, *check_summaries(results, "partitions")]

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


def _refusal(got: str, fix: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(
        f"Expected `run_partitions` in a step that materializes partitions of assets, got {got}.\nFix: {fix}"
    )


def partitioned_step(context: CallingContext, refuse: Callable[[str, str], Exception] = _refusal) -> PartitionedStep:
    """Return the step of a context.

    Args:
        context: The context.
        refuse: Returns the error for another step, from what that is and what to do. Default: that of `run_partitions`.

    Raises:
        PipesCloudFunctionRequestError: It materializes no partitions.
    """
    if not context.has_assets_def or not context.selected_asset_keys:
        raise refuse("a step without assets", "Call `run` in an op or an asset check.")
    definition = partitions_definition(context)
    if definition is None:
        raise refuse("an asset without partitions", "Call `run`, or give the asset a `partitions_def`.")
    if not context.has_partition_key and not context.has_partition_key_range:
        raise refuse("a run without partitions", "Choose a partition or a range when you launch the run.")
    keys = context.partition_keys
    if not keys:
        raise refuse(f"no partition in {context.partition_key_range!r:.300}", "Name the first partition first.")
    outputs = _outputs(context)
    if not context.selected_asset_keys <= outputs.keys():
        fix = "Call it in an `@asset` or a `@multi_asset`, or in the op that returns the results of the graph."
        raise refuse("an inner op of a graph-backed asset", fix)
    specs = context.assets_def.specs_by_key
    partitioned = {key: output for key, output in outputs.items() if specs[key].partitions_def is not None}
    return PartitionedStep(context, definition, keys, partitioned, logged_partitions(context))


def end_step(
    step: PartitionedStep, outcomes: Mapping[str, Outcome], metadata: Metadata
) -> PipesCloudFunctionCompletedPartitions:
    """End a step whose calls have all ended.

    Args:
        step: The step.
        outcomes: The results, or the error, of the call of each partition.
        metadata: Numbers about all calls.

    Raises:
        PipesCloudFunctionPartitionsError: The calls of some partitions failed. All others are materialized.
    """
    succeeded, errors = split_outcomes({key: outcomes[key] for key in step.keys})
    results = {key: invocation.get_results() for key, invocation in succeeded.items()}
    if errors:
        step.log_check_summaries(results)
        raise _error(errors, len(step.keys), metadata)
    step.end_outputs()
    return PipesCloudFunctionCompletedPartitions(succeeded, step.results(results), metadata)


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


def _error(
    errors: Mapping[str, PipesCloudFunctionError], total: int, metadata: Metadata
) -> PipesCloudFunctionPartitionsError:
    first = next(iter(errors.values()))
    error = PipesCloudFunctionPartitionsError(
        f"{describe_failures(errors, total, 'partitions')}: {names(errors)}.\n"
        f"The first error: {first.description!s:.{MAX_REASON_LENGTH}}\n"
        f"The other {total - len(errors):,} are materialized.\nFix: Launch a backfill of the missing partitions.",
        {f"{METADATA_PREFIX}failed_partitions": failures_table(errors, "partition"), **metadata},
        allow_retries=any(error.allow_retries for error in errors.values()),
    )
    error.errors = errors
    return error
