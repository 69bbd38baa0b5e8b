"""A job of three assets for the multiprocess executor, which loads it anew in each step's process."""

import os

from dagster import Definitions, JobDefinition, define_asset_job, multiprocess_executor

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.helpers import calling_asset

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
