"""A job whose step's process is killed at its first attempt, when its function has reported two of three partitions."""

import os
import signal
from pathlib import Path
from threading import Event, Thread

from dagster import (
    AssetExecutionContext,
    DailyPartitionsDefinition,
    Definitions,
    EnvVar,
    JobDefinition,
    MaterializeResult,
    RetryPolicy,
    asset,
    define_asset_job,
    multiprocess_executor,
)

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.dagster_runs import materializations

never = Event()


def with_step_retries() -> JobDefinition:
    return _define(RetryPolicy(max_retries=1))


def without_retries() -> JobDefinition:
    return _define(None)


def _define(retry_policy: RetryPolicy | None) -> JobDefinition:
    @asset(partitions_def=DailyPartitionsDefinition("2024-01-01"), retry_policy=retry_policy)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        hold = Path(os.environ["TEST_HOLD"])
        if context.retry_number == 0 and context.run.parent_run_id is None:
            Thread(target=_kill_at, args=(context, 2), daemon=True).start()
        else:
            hold.unlink()
        event = {"partitions": list(context.partition_keys), "pauses_before": 2, "hold": str(hold)}
        invocation = cloud_function.run(context=context, function_url=os.environ["TEST_FUNCTION_URL"], event=event)
        return invocation.get_materialize_result()

    definitions = Definitions(
        assets=[sales],
        resources={"cloud_function": PipesCloudFunctionClient(bucket=EnvVar("TEST_BUCKET"))},
        jobs=[define_asset_job("killed", executor_def=multiprocess_executor)],
    )
    return definitions.resolve_job_def("killed")


def _kill_at(context: AssetExecutionContext, count: int) -> None:
    while len(materializations(context.instance, context.run_id)) < count:
        never.wait(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
