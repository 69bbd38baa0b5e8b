"""Jobs whose step calls a function that notes its executions, in a process that a test may kill.

Dagster keeps the definition of a job, so a test's settings are read while the step runs.
"""

import json
import os
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    Definitions,
    EnvVar,
    JobDefinition,
    MaterializeResult,
    RetryPolicy,
    asset,
    define_asset_job,
    execute_job,
    in_process_executor,
    reconstructable,
)

from dagster_gcf_pipes import PipesCloudFunctionClient

SETTINGS, BUCKET = "TEST_ADOPTION", "TEST_ADOPTION_BUCKET"


def _define(retry_policy: RetryPolicy | None = None, tags: dict[str, str] | None = None) -> JobDefinition:
    @asset(retry_policy=retry_policy)
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        settings = json.loads(os.environ[SETTINGS])
        client = cloud_function if settings["managed"] else PipesCloudFunctionClient(bucket=os.environ[BUCKET])
        for name in settings["calls"]:
            invocation = client.run(
                context=context,
                function_url=settings["url"],
                event={"folder": settings["folder"], "name": name, **settings.get("event", {})},
                reattach=settings["reattach"],
            )
            context.log.info(f"custom messages: {invocation.get_custom_messages()}")
        mistake = Path(settings["folder"], "step_fails")
        if mistake.exists():
            mistake.unlink()
            raise RuntimeError("a mistake in the step's own code")
        return invocation.get_materialize_result()

    definitions = Definitions(
        assets=[orders],
        resources={"cloud_function": PipesCloudFunctionClient(bucket=EnvVar(BUCKET))},
        jobs=[define_asset_job("adopting", executor_def=in_process_executor, tags=tags)],
    )
    return definitions.resolve_job_def("adopting")


def without_retries() -> JobDefinition:
    return _define()


def with_step_retries() -> JobDefinition:
    return _define(RetryPolicy(max_retries=1))


def with_run_retries() -> JobDefinition:
    return _define(tags={"dagster/max_retries": "2"})


def execute(name: str) -> None:
    """Run one of the jobs in this process."""
    with DagsterInstance.get() as instance:
        execute_job(reconstructable(globals()[name]), instance)
