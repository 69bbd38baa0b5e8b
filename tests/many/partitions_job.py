"""A job that calls the simulated function for each partition of a run, in a process that a test may kill.

Dagster keeps the definition of a job, so a test's settings are read while the step runs.
"""

import json
import os

from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    Definitions,
    EnvVar,
    HourlyPartitionsDefinition,
    JobDefinition,
    JobExecutionResult,
    MaterializeResult,
    ReexecutionOptions,
    RetryPolicy,
    asset,
    define_asset_job,
    execute_job,
    in_process_executor,
    reconstructable,
)

from dagster_gcf_pipes import PipesCloudFunctionClient

EVENT, URL, BUCKET = "TEST_EVENT", "TEST_URL", "TEST_BUCKET"
HOURS = HourlyPartitionsDefinition("2024-10-01-00:00", end_date="2025-01-01-00:00", timezone="Europe/Berlin")
"""The clock goes back on 2024-10-27, which is among the first thousand."""


def _define(retry_policy: RetryPolicy | None = None, *, with_totals: bool = False) -> JobDefinition:
    @asset(partitions_def=HOURS, retry_policy=retry_policy)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event, url = json.loads(os.environ[EVENT]), os.environ[URL]
        calls = cloud_function.run_partitions(context=context, function_url=url, event=event, max_concurrency=200)
        return calls.get_materialize_result()

    @asset(partitions_def=HOURS, deps=[sales])
    def totals() -> MaterializeResult:
        raise RuntimeError("a mistake downstream")

    definitions = Definitions(
        assets=[sales, totals] if with_totals else [sales],
        resources={"cloud_function": PipesCloudFunctionClient(bucket=EnvVar(BUCKET))},
        jobs=[define_asset_job("partitions", executor_def=in_process_executor)],
    )
    return definitions.resolve_job_def("partitions")


def without_retries() -> JobDefinition:
    return _define()


def with_retries() -> JobDefinition:
    return _define(RetryPolicy(max_retries=1))


def with_a_mistake_downstream() -> JobDefinition:
    return _define(with_totals=True)


def execute(name: str, count: int, instance: DagsterInstance, *, again: bool = False) -> JobExecutionResult:
    """Run one of the jobs in this process: the first partitions, or its last run again from its failure."""
    keys = HOURS.get_partition_keys()[:count]
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    options = None
    if again:
        (run,) = instance.get_runs(limit=1)
        tags["dagster/is_resume_retry"] = "true"  # as the UI and the daemon have it
        options = ReexecutionOptions.from_failure(run.run_id, instance)
    with execute_job(reconstructable(globals()[name]), instance, tags=tags, reexecution_options=options) as result:
        return result
