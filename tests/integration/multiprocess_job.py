"""Jobs for the multiprocess executor, which imports them in each step's process."""

import os
from typing import Any

import requests
from dagster import (
    Definitions,
    FilesystemIOManager,
    JobDefinition,
    OpExecutionContext,
    define_asset_job,
    job,
    multiprocess_executor,
    op,
)

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.dagster_runs import calling_asset

NAMES = ("red", "green", "blue")


def define_job() -> JobDefinition:
    url = os.environ["TEST_FUNCTION_URL"]
    assets = [calling_asset(url, {"mode": "lines", "count": 20, "tag": name}, name=name) for name in NAMES]
    definitions = Definitions(
        assets=assets,
        resources={"cloud_function": PipesCloudFunctionClient(bucket=os.environ["TEST_BUCKET"])},
        jobs=[define_asset_job("three", executor_def=multiprocess_executor.configured({"max_concurrent": 3}))],
    )
    return definitions.resolve_job_def("three")


@op
def call(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> requests.Response:
    return cloud_function.run(
        context=context, function_url=os.environ["TEST_FUNCTION_URL"], event={"mode": "ok"}
    ).response


@op
def read(response: requests.Response) -> dict[str, Any]:
    return {"status": response.status_code, "json": response.json(), "seconds": response.elapsed.total_seconds()}


def define_passing_job() -> JobDefinition:
    """The response of one step is the input of the next, through a file."""

    @job(
        resource_defs={
            "cloud_function": PipesCloudFunctionClient(bucket=os.environ["TEST_BUCKET"]),
            "io_manager": FilesystemIOManager(),
        },
        executor_def=multiprocess_executor,
    )
    def passing() -> None:
        read(call())

    return passing
