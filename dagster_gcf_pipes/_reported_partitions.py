"""The partitions of a range that a function reports one by one. Each is logged as soon as its message has arrived."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from dagster import AssetKey, MaterializeResult, PipesMessageHandler
from dagster_pipes import PipesMessage
from gcf_pipes._shared.json_validation import excerpt
from gcf_pipes._shared.protocol import PartitionMaterialization

from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._check_summaries import names
from dagster_gcf_pipes._contexts import CallingContext
from dagster_gcf_pipes._errors import PipesCloudFunctionPartitionsError
from dagster_gcf_pipes._launches import logged_materializations
from dagster_gcf_pipes._made_call import MadeCall
from dagster_gcf_pipes._messages.parser import partition_report
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._messages.session_reader import PartitionReportError, SessionReader
from dagster_gcf_pipes._results import add_metadata, code_version_tag

if TYPE_CHECKING:
    from dagster_gcf_pipes._partitions import PartitionedStep

SESSION_TAG: Final = "cloud_function/session"
"""The tag of a materialization with the id of the session whose message reported it."""


class ReportedPartitions:
    """What the function of a call reports partition by partition.

    Dagster would materialize all partitions of an asset when the step ends. From the first report of an asset on, only
    the reports materialize its partitions, however the call and the step end.

    Args:
        context: The context of the step.
        launch: How the step makes or adopts the call.
    """

    def __init__(self, context: CallingContext, launch: Launch) -> None:
        self._context = context
        self._launch = launch
        self._session = launch.call.prefix.path.rpartition("/")[2]
        self._reported: defaultdict[AssetKey, set[str]] = defaultdict(set)
        self._reported_whole: set[AssetKey] = set()

    def take(self, message: PipesMessage, reader: SessionReader) -> bool:
        """Log the partition that a message reports, and return whether it is such a message.

        Raises:
            PartitionReportError: The step cannot materialize what the message reports.
        """
        if report := partition_report(message):
            self._log(report, _result(self._context, message, report, reader), reader.record)
            return True
        if message["method"] == "report_asset_materialization":
            asset_key = AssetKey.from_escaped_user_string(str((message["params"] or {}).get("asset_key")))
            if asset_key in self._reported:
                raise _both_reports(asset_key)
            self._reported_whole.add(asset_key)
        return False

    def judge(self, made: MadeCall) -> MadeCall:
        """Return the call with the assets that have such reports. It has failed if an asset misses some partitions."""
        made = replace(made, by_partition=self._reported.keys())
        if made.outcome.error and self._reported:
            counts = (f"{len(keys)} of {asset.to_user_string()}" for asset, keys in self._reported.items())
            self._context.log.info(
                f"[pipes] the partitions that the function had reported stay materialized: {', '.join(counts)}"
            )
        if made.outcome.error or not (missing := self._missing()):
            return made
        error = _error(missing, len(self._keys))
        self._launch.call.describe(error, made.record, made.messages, {})
        return replace(made, outcome=replace(made.outcome, error=error))

    @cached_property
    def _step(self) -> "PartitionedStep":
        from dagster_gcf_pipes._partitions import partitioned_step

        return partitioned_step(self._context, _refusal)

    @cached_property
    def _keys(self) -> Mapping[str, str]:
        """The partitions of the step, by their keys as the function has them."""
        return {str(key): key for key in self._step.keys}

    @cached_property
    def _logged_before(self) -> Collection[tuple[AssetKey, str]]:
        """What an earlier attempt of the step has logged of this session, in this run."""
        if not self._launch.adopts or self._launch.step is None:
            return ()
        return {
            (event.asset_key, str(event.partition))
            for event in logged_materializations(self._launch.step)
            if (event.tags or {}).get(SESSION_TAG) == self._session
        }

    def _log(self, report: PartitionMaterialization, result: "MaterializeResult[Any]", session: SessionRecord) -> None:
        asset_key, partition = cast("AssetKey", result.asset_key), report["partition"]
        self._check(asset_key, partition)
        if asset_key not in self._reported:
            self._step.end_output(asset_key)
        if (asset_key, partition) not in self._logged_before:
            metadata = add_metadata(result.metadata, self._launch.call.running_metadata(session.opened_extras))
            version = code_version_tag(self._context, asset_key, session.opened_extras.get("revision"))
            result = result._replace(metadata=metadata, tags={**version, SESSION_TAG: self._session})
            self._step.log_materialization(self._keys[partition], asset_key, result)
        self._reported[asset_key].add(partition)

    def _check(self, asset_key: AssetKey, partition: str) -> None:
        name = asset_key.to_user_string()
        if asset_key not in self._step.outputs:
            assets = ", ".join(sorted(key.to_user_string() for key in self._step.outputs))
            raise PartitionReportError(
                f"Expected partitions of this step's assets that have some: {assets:.300}, got one of {name:.100}."
            )
        if asset_key in self._reported_whole:
            raise _both_reports(asset_key)
        if partition not in self._keys:
            first, last = self._step.keys[0], self._step.keys[-1]
            raise PartitionReportError(
                f"Expected a partition of {name:.100} in this run, from {excerpt(first)} to {excerpt(last)}, got "
                f"{excerpt(partition)}."
            )
        if partition in self._reported.get(asset_key, ()):
            raise PartitionReportError(f"Expected one report of each partition, got {excerpt(partition)} twice.")

    def _missing(self) -> Mapping[AssetKey, Sequence[str]]:
        """Return the partitions without a report, of the assets with reports."""
        unreported = {asset: [key for key in self._keys if key not in keys] for asset, keys in self._reported.items()}
        return {asset: keys for asset, keys in unreported.items() if keys}


def _result(
    context: CallingContext, message: PipesMessage, report: PartitionMaterialization, reader: SessionReader
) -> "MaterializeResult[Any]":
    """Return what Dagster's own handler makes of the report of an asset."""
    fields = ("asset_key", "metadata", "data_version")
    handler = PipesMessageHandler(context, reader)
    params: dict[str, Any] = {name: report.get(name) for name in fields}
    handler.handle_message({**message, "method": "report_asset_materialization", "params": params})
    (result,) = handler.get_reported_results()
    return cast("MaterializeResult[Any]", result)


def _refusal(got: str, _: str) -> PartitionReportError:
    return PartitionReportError(
        f"Expected a report of a partition to a step that materializes partitions of assets, got {got}.\n"
        "Fix: Report the whole asset with `pipes.report_asset_materialization`."
    )


def _both_reports(asset_key: AssetKey) -> PartitionReportError:
    return PartitionReportError(
        f"Expected a report of {asset_key.to_user_string():.100} either as a whole or for each partition, got both."
    )


def _error(missing: Mapping[AssetKey, Sequence[str]], total: int) -> PipesCloudFunctionPartitionsError:
    asset, keys = next(iter(missing.items()))
    others = f" {len(missing) - 1} other assets miss partitions too." if len(missing) > 1 else ""
    return PipesCloudFunctionPartitionsError(
        f"The function succeeded, but it did not report {len(keys)} of {total} partitions of "
        f"{asset.to_user_string():.100}: {names(keys)}.{others}\nThe others are materialized.\n"
        "Fix: Report each partition of the range, also one without data. Then launch a backfill of the missing "
        "partitions."
    )
