"""Reports the partitions of a range one by one. Pipes itself has one report for an asset, whatever its partitions.

It looks private names of `dagster_pipes` up at each report, so that a function without such reports needs none of them.
"""

from collections.abc import Mapping

import dagster_pipes
from dagster_pipes import DagsterPipesError, PipesContext, PipesMetadataRawValue, PipesMetadataValue

from gcf_pipes._shared.json_validation import excerpt
from gcf_pipes._shared.protocol import PARTITION_KEY, VERSION, PartitionMaterialization

_METHOD = "report_partition_materialization"


def report_partition_materialization(
    pipes: PipesContext,
    partition: str,
    *,
    metadata: Mapping[str, PipesMetadataRawValue | PipesMetadataValue] | None = None,
    data_version: str | None = None,
    asset_key: str | None = None,
) -> None:
    """Report to Dagster that one partition of an asset has been materialized.

    For a function that computes a range of partitions in one call. Each partition gets its own metadata and data
    version, and Dagster shows it as soon as the message has arrived. For example::

        @pipes_function
        def main(request, pipes):
            for day in days_of(pipes.partition_time_window):
                rows = load(day)
                report_partition_materialization(pipes, day, metadata={"rows": rows})

    Report each partition after its data is stored: it stays materialized if the function fails later. The step fails if
    a partition of its range is missing when the function has succeeded. Report a partition without data too.

    In a call for one partition, this does what `pipes.report_asset_materialization` does.

    Args:
        pipes: The context of the call.
        partition: The key of the partition, such as "2024-01-03" or with two dimensions "red|2024-01-03".
        metadata: As in `pipes.report_asset_materialization`.
        data_version: The data version of the partition. Default: Dagster's own.
        asset_key: The asset, such as "sales/orders". Default: the only one of the step.

    Raises:
        DagsterPipesError: As in `pipes.report_asset_materialization`. Or the step has no partitions, this is not the
            partition of the call, or the asset or this partition of it has been reported. Or Dagster's side is not
            `PipesCloudFunctionClient.run`, or is too old.
    """
    if not isinstance(partition, str):
        raise DagsterPipesError(f"Expected `partition` of `{_METHOD}` to be a string, got {type(partition).__name__}.")
    if not isinstance(pipes, PipesContext):
        return  # a mock: Dagster has not started this process
    if not pipes.is_partition_step:
        raise DagsterPipesError(
            f"Expected `{_METHOD}` in a step with partitions, got a step without.\n"
            "Fix: Use `pipes.report_asset_materialization`. Dagster's own parts do not tell a function its range: call "
            "it with `PipesCloudFunctionClient.run`."
        )
    keys = pipes.partition_key_range
    if keys["start"] != keys["end"]:
        report = PartitionMaterialization(  # with the checks that Pipes makes of a materialization
            asset_key=dagster_pipes._resolve_optionally_passed_asset_key(pipes._data, asset_key, _METHOD),
            partition=partition,
            metadata=dagster_pipes._normalize_param_metadata(metadata, _METHOD, "metadata") if metadata else None,
            data_version=dagster_pipes._assert_opt_param_type(data_version, str, _METHOD, "data_version"),
        )
        _report(pipes, report)
    elif partition == keys["start"]:
        pipes.report_asset_materialization(metadata, data_version, asset_key)
    else:
        raise DagsterPipesError(f"Expected the partition of this call, {keys['start']!r}, got {excerpt(partition)}.")


def _report(pipes: PipesContext, report: PartitionMaterialization) -> None:
    asset_key, partition = report["asset_key"], report["partition"]
    reported: dict[str, set[str]] | None = getattr(pipes._message_channel, "reported_partitions", None)
    if reported is None:
        raise DagsterPipesError(
            f"Expected a message reader that takes `{_METHOD}` for a range, got another one.\n"
            f"Fix: Install dagster-gcf-pipes {VERSION} or later where Dagster runs, call the function with "
            "`PipesCloudFunctionClient.run`, and decorate its entry point with `gcf_pipes.pipes_function`."
        )
    if asset_key in pipes._materialized_assets and asset_key not in reported:
        raise DagsterPipesError(
            f"Expected `{_METHOD}` or `pipes.report_asset_materialization` for the asset {asset_key!r}, got both."
        )
    if partition in reported.get(asset_key, ()):
        raise DagsterPipesError(f"Expected one report of each partition, got {excerpt(partition)} twice.")
    pipes.report_custom_message({PARTITION_KEY: report})
    reported.setdefault(asset_key, set()).add(partition)
    pipes._materialized_assets.add(asset_key)  # then Pipes itself refuses a report of the whole asset
