"""What `PipesCloudFunctionClient.run` returns, and what stays of a call that failed."""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import requests
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckResult,
    AssetKey,
    AssetMaterialization,
    MaterializeResult,
    MultiPartitionKey,
    PipesClientCompletedInvocation,
    PipesExecutionResult,
    PipesSession,
)
from requests.structures import CaseInsensitiveDict

from dagster_gcf_pipes._contexts import CallingContext
from dagster_gcf_pipes._errors import Metadata, PipesCloudFunctionCallError, PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import redacted

_USE_RESULTS: Final = (
    "Fix: In an asset, write `return cloud_function.run(...).get_materialize_result()`. In an asset check, write "
    "`.get_asset_check_result()`, and for several assets `yield from cloud_function.run(...).get_results()`. An op may "
    "return `.response`, or what `.get_custom_messages()` returns."
)


def _refuse_as_result(*_: object) -> NoReturn:
    raise PipesCloudFunctionRequestError(
        f"Expected the results of the call, got the invocation that `run` returned.\n{_USE_RESULTS}"
    )


def _refuse_await(_: object) -> NoReturn:
    raise PipesCloudFunctionRequestError(
        f"Expected `run` without `await`: it is not asynchronous, and has already waited.\n{_USE_RESULTS}"
    )


_DAGSTER_EXECUTION: Final = "dagster._core.execution."
"""Dagster's modules that run a step. They format the type of a value only for an error about it."""


class _InvocationType(type(PipesClientCompletedInvocation)):  # type: ignore[misc]  # in case Dagster's gets a metaclass
    """The type of invocations. It raises our error where Dagster is about to raise its own about an invocation.

    Dagster asks no more of a returned or yielded value than its type, and formats that type for its error. Where a
    later version does not, its own error remains.
    """

    def __format__(cls, spec: str) -> str:
        frame = inspect.currentframe()
        caller = frame.f_back if frame else None
        if caller and str(caller.f_globals.get("__name__")).startswith(_DAGSTER_EXECUTION):
            _refuse_as_result()
        return format(type.__repr__(cls), spec)


class NotAResult(metaclass=_InvocationType):
    """What an asset or an op cannot return: it has to return what a method of it returns."""

    if not TYPE_CHECKING:  # for a type checker, it has none of these
        __reduce_ex__ = __iter__ = __enter__ = __exit__ = _refuse_as_result  # pickled if an op returns it
        __await__ = _refuse_await


class PipesCloudFunctionCompletedInvocation(NotAResult, PipesClientCompletedInvocation):
    """The results of a function's call, and its HTTP response.

    Args:
        session: The Pipes session of the call.
        response: The function's response, or None if it did not arrive and only the messages tell of the success.
        metadata: Added to every materialization and check of the call.
        revision: The revision of the function that ran, or None if it is unknown. It is the code version of assets that
            define none.
        by_partition: The assets whose partitions the function has reported one by one. They are already materialized.
    """

    def __init__(
        self,
        session: PipesSession,
        *,
        response: requests.Response | None,
        metadata: Metadata,
        revision: str | None = None,
        by_partition: Collection[AssetKey] = (),
    ) -> None:
        super().__init__(session, metadata=metadata)
        self._by_partition = frozenset(by_partition)
        self._revision = revision
        self._response = None if response is None else detached(response)

    def __copy__(self) -> "PipesCloudFunctionCompletedInvocation":
        duplicate = object.__new__(type(self))
        duplicate.__dict__.update(self.__dict__)
        return duplicate

    def get_results(
        self, *, implicit_materializations: bool = True
    ) -> "tuple[MaterializeResult[Any] | AssetCheckResult, ...]":
        """Return what the function reported, with the metadata of the call. They never replace a key of the function.

        Return them from the asset, or yield each. It is a tuple because Dagster takes a returned list for one result.
        An asset comes after those on which it depends, whatever the order of the reports: Dagster demands that.

        The partitions that the function has reported one by one are already materialized. The result of their asset
        only ends the step.

        Args:
            implicit_materializations: Whether to materialize the step's other assets too. Default yes. If the function
                has reported partitions one by one, its other assets with partitions are left out.
        """
        results = self._session.get_results(implicit_materializations=implicit_materializations)
        if self._by_partition:
            results = self._without_unreported_partitions(results)
        order = _topological_order(self._session.context)
        results = sorted(results, key=lambda result: order.get(result.asset_key, 0))
        return tuple(self._with_facts_of_the_call(result) for result in results)

    def _without_unreported_partitions(self, results: Sequence[PipesExecutionResult]) -> Sequence[PipesExecutionResult]:
        """Return what ends the step. Assets with partitions that the function has not reported are left out."""
        specs = self._session.context.assets_def.specs_by_key
        reported = self._session.get_reported_results()
        unpartitioned = [
            result
            for result in results
            if result not in reported and result.asset_key and specs[result.asset_key].partitions_def is None
        ]
        return [*reported, *unpartitioned, *(MaterializeResult(asset_key=key) for key in self._by_partition)]

    def _with_facts_of_the_call(
        self, result: "MaterializeResult[Any] | AssetCheckResult"
    ) -> "MaterializeResult[Any] | AssetCheckResult":
        result = result._replace(metadata=add_metadata(result.metadata, self.metadata))
        if isinstance(result, MaterializeResult):
            version = code_version_tag(self._session.context, result.asset_key, self._revision)
            result = result._replace(tags={**version, **(result.tags or {})})
        return result

    @property
    def response(self) -> requests.Response:
        """The function's response: `status_code`, `headers`, `json()`, `text`, `content`, `elapsed`.

        You can pickle it, so an op may return it. It holds no secret: its `url` has no user, password and query, and
        its `request` has neither headers nor a body.

        If it did not arrive, or an earlier attempt of the step made the call, it is the copy that came with the
        messages. That copy has no headers but the media type. There is one of texts of at most 32 KiB.

        Raises:
            PipesCloudFunctionCallError: The function succeeded, but the connection broke before its response arrived,
                or this step has adopted the call, and there is no copy.
        """
        if self._response is None:
            raise PipesCloudFunctionCallError(
                "The function succeeded, but the connection broke before its response arrived, or an earlier attempt "
                "of the step made the call. The messages hold only a text of at most 32 KiB.\n"
                "Fix: Send results that you need with `pipes.report_custom_message`."
            )
        return self._response


class PipesCloudFunctionCompletedPartitions(NotAResult):
    """The results of a function's calls for several partitions.

    Attributes:
        invocations: The calls by partition key, in the order of the partitions. Each has its `response` and its
            `get_custom_messages()`.
        metadata: Numbers about all calls. A run of one partition has none.
    """

    def __init__(
        self,
        invocations: Mapping[str, PipesCloudFunctionCompletedInvocation],
        results: "Sequence[MaterializeResult[Any] | AssetCheckResult]",
        metadata: Metadata = MappingProxyType({}),
    ) -> None:
        self.invocations = invocations
        self.metadata = metadata
        self._results = tuple(results)

    def get_results(self) -> "tuple[MaterializeResult[Any] | AssetCheckResult, ...]":
        """Return the results of the step: one for each asset, and one for each check.

        Return them from the asset, or yield each. The partitions of an asset are already materialized, so its result
        only ends the step. The result of a check has failed if the check has failed for a partition.
        """
        return self._results

    def get_materialize_result(self) -> "MaterializeResult[Any]":
        """Return the result of the step's only asset, with its checks.

        Raises:
            PipesCloudFunctionRequestError: The step has several assets.
        """
        materialized = [result for result in self._results if isinstance(result, MaterializeResult)]
        if len(materialized) != 1:
            raise PipesCloudFunctionRequestError(
                f"Expected a step with one asset, got {len(materialized)}.\n"
                "Fix: Write `yield from cloud_function.run_partitions(...).get_results()`."
            )
        checks = [result for result in self._results if isinstance(result, AssetCheckResult)]
        return materialized[0]._replace(check_results=checks)


def _topological_order(context: CallingContext) -> Mapping[AssetKey | None, int]:
    """Return the positions of a step's assets, each after those on which it depends."""
    specs = context.assets_def.specs_by_key if context.has_assets_def else {}
    parents = {key: {dep.asset_key for dep in spec.deps} & specs.keys() - {key} for key, spec in specs.items()}
    return {key: position for position, key in enumerate(TopologicalSorter(parents).static_order())}


def add_metadata(reported: Mapping[str, Any] | None, ours: Metadata) -> dict[str, Any]:
    """Return the metadata that a function reported, followed by ours. Ours never replace a key of the function."""
    reported = reported or {}
    return {**reported, **ours, **reported}


DATA_VERSION_TAG: Final = "dagster/data_version"
"""Source: `dagster.DataVersion`, which Dagster stores in this tag of a materialization."""
PARTITION_TAG: Final = "dagster/partition/"
"""Followed by a dimension's name: the tag with the key of one dimension of a partition.

Source: https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets ("Multi-dimensional").
"""


CODE_VERSION_TAG: Final = "dagster/code_version"
"""Dagster stores the code version in this tag of a materialization, and compares it with the one of the definition.

Source: https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching.
"""
_REVISION: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_GENERATED_REVISION: Final = re.compile(r"(?P<service>[a-z][a-z0-9-]*)-[0-9]{5}-[a-z0-9]{3}")
"""The name that Cloud Run gives a revision, such as orders-00007-xyz."""


def code_version_tag(context: CallingContext, asset_key: AssetKey | None, revision: str | None) -> Mapping[str, str]:
    """Return the tag with the revision that computed an asset, or none if Dagster's own is to be used.

    Dagster's own is the code version of the definition, or if there is none, the run's id. The revision replaces the
    run's id, and also another revision of the same service: the definitions may be older than the deployment.
    """
    if not (context.has_assets_def and asset_key and revision and _REVISION.fullmatch(revision)):
        return {}
    spec = context.assets_def.specs_by_key.get(asset_key)
    if spec is None or (spec.code_version is not None and not _same_service(spec.code_version, revision)):
        return {}
    return {CODE_VERSION_TAG: revision}


def _same_service(revision: str, other: str) -> bool:
    matches = _GENERATED_REVISION.fullmatch(revision), _GENERATED_REVISION.fullmatch(other)
    return all(matches) and len({match["service"] for match in matches if match}) == 1


def fails_a_blocking_check(context: CallingContext, session: PipesSession) -> bool:
    """Whether a function has reported the failure of a check for which Dagster fails the step."""
    specs = context.assets_def.check_specs if context.has_assets_def else ()
    blocking = {(spec.asset_key, spec.name) for spec in specs if spec.blocking}
    checks = (result for result in session.get_reported_results() if isinstance(result, AssetCheckResult))
    return any(not check.passed and (check.asset_key, check.check_name) in blocking for check in checks)


def report_partial_results(context: CallingContext, session: PipesSession, metadata: Metadata) -> None:
    """Log the reported results as the events that Dagster logs for a step that succeeds.

    An asset gets one materialization for each partition of the run. Assets and checks of another step are left out:
    Dagster would refuse them, too, if the step succeeded.
    """
    for result in session.get_reported_results():
        if isinstance(result, MaterializeResult):
            for event in _materializations(context, result, add_metadata(result.metadata, metadata)):
                context.log_event(event)
        elif evaluation := check_evaluation(context, result, add_metadata(result.metadata, metadata)):
            context.log_event(evaluation)  # type: ignore[arg-type]  # its annotation leaves checks out


def _materializations(
    context: CallingContext, result: "MaterializeResult[Any]", metadata: Metadata
) -> Iterator[AssetMaterialization]:
    if result.asset_key is None or (context.has_assets_def and result.asset_key not in context.selected_asset_keys):
        return
    version = {DATA_VERSION_TAG: result.data_version.value} if result.data_version else {}
    for partition in _partitions(context, result.asset_key):
        tags = {**version, **dimension_tags(partition)}
        yield AssetMaterialization(result.asset_key, metadata=metadata, partition=partition, tags=tags)


def _partitions(context: CallingContext, asset_key: AssetKey) -> Sequence[str | None]:
    """Return the partitions of an asset that the step materializes; for an unpartitioned asset a single None."""
    if not context.has_assets_def:
        return [_partition(context)]
    if context.assets_def.specs_by_key[asset_key].partitions_def is None:
        return [None]  # a run may have both kinds of assets
    return context.partition_keys if context.has_partition_key or context.has_partition_key_range else [None]


def _partition(context: CallingContext) -> str | None:
    return context.partition_key if context.has_partition_key else None


def dimension_tags(partition: str | None) -> Mapping[str, str]:
    """Return the tags of the dimensions of a partition."""
    if not isinstance(partition, MultiPartitionKey):
        return {}
    return {f"{PARTITION_TAG}{dimension}": key for dimension, key in partition.keys_by_dimension.items()}


def check_evaluation(
    context: CallingContext, result: AssetCheckResult, metadata: Metadata, partition: str | None = None
) -> AssetCheckEvaluation | None:
    """Return the event of a check's result, or None if the check belongs to another step.

    Args:
        context: The context of the step.
        result: The result.
        metadata: The metadata of the event.
        partition: The partition. Default: that of the run, if the check has partitions.
    """
    if result.asset_key is None or result.check_name is None:
        return None
    key = AssetCheckKey(result.asset_key, result.check_name)
    specs = {spec.key: spec for spec in context.assets_def.check_specs} if context.has_assets_def else {}
    spec = specs.get(key)
    if context.has_assets_def and spec is None:
        return None
    return AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.passed,
        severity=result.severity,
        metadata=metadata,
        description=result.description,
        blocking=spec.blocking if spec else None,
        partition=partition or (_partition(context) if spec and spec.partitions_def else None),
    )


def detached(response: requests.Response) -> requests.Response:
    """Return a copy of a response that can be pickled and holds only what the server sent.

    Its `request` has only the method and the URL. All URLs are without user, password and query. The content has been
    read, and there is no `history`, `connection` or `raw`.
    """
    independent = copy(response)  # like pickling, this reads the content and drops the connection
    independent.url = redacted(response.url)
    independent.history = []
    independent.request = requests.PreparedRequest()
    independent.request.method = response.request.method
    independent.request.url = redacted(response.request.url or "")
    independent.request.headers = CaseInsensitiveDict()
    return independent
