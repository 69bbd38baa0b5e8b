"""A job whose step makes two sets of calls, one after another, in a process that a test kills."""

import json
import os
from pathlib import Path
from typing import Any

from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    Definitions,
    EnvVar,
    JobDefinition,
    MaterializeResult,
    asset,
    define_asset_job,
    execute_job,
    in_process_executor,
    reconstructable,
)

from dagster_gcf_pipes import PipesCloudFunctionClient

URL, BUCKET, RESULTS, CALLS = "TEST_MANY_URL", "TEST_MANY_BUCKET", "TEST_MANY_RESULTS", "TEST_MANY_CALLS"


def events_of(group: str) -> dict[str, Any]:
    """Return the events of a set of calls. Those with an odd number take long."""
    count = int(os.environ[CALLS])
    return {
        f"{group}{number}": {"key": f"{group}{number}", "seconds": 3 * (number % 2), "lines": 2}
        for number in range(count)
    }


@asset
def pages(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
    results: dict[str, str] = {}
    for group in ("first", "second"):
        calls = cloud_function.run_many(context=context, function_url=os.environ[URL], events=events_of(group))
        results |= {key: call.response.json()["key"] for key, call in calls.succeeded.items()}
    Path(os.environ[RESULTS]).write_text(json.dumps(results))
    return calls.get_materialize_result()


def job() -> JobDefinition:
    definitions = Definitions(
        assets=[pages],
        resources={"cloud_function": PipesCloudFunctionClient(bucket=EnvVar(BUCKET))},
        jobs=[define_asset_job("many", executor_def=in_process_executor)],
    )
    return definitions.resolve_job_def("many")


def execute() -> None:
    """Run the job in this process."""
    with DagsterInstance.get() as instance:
        execute_job(reconstructable(job), instance)
