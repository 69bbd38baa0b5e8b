"""Every response of a function says which version of `gcf_pipes` is deployed, also where no code of it runs."""

import logging
import re
from pathlib import Path

import pytest
import requests
from dagster import DagsterInstance, materialize
from flask import Flask
from gcf_pipes import pipes_function
from gcf_pipes._shared.protocol import VERSION, VERSION_HEADER

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.dagster_runs import calling_asset
from tests.sessions import call

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("project", [ROOT / "pyproject.toml", ROOT / "cloud_function" / "pyproject.toml"])
def test_the_version_is_that_of_both_distributions(project: Path) -> None:
    assert re.findall('^version = "(.+)"$', project.read_text(), re.MULTILINE) == [VERSION]


@pytest.mark.parametrize("mode", ["ok", "raises"])
def test_the_response_of_a_call_has_the_version(function: FunctionServer, bucket: str, mode: str) -> None:
    assert call(function.url, bucket, {"mode": mode}).headers[VERSION_HEADER] == VERSION


@pytest.mark.parametrize(("path", "status"), [("", 400), ("/robots.txt", 404)])
def test_a_response_without_a_call_has_it_too(function: FunctionServer, path: str, status: int) -> None:
    response = requests.get(f"{function.url}{path}", timeout=30)
    assert (response.status_code, response.headers[VERSION_HEADER]) == (status, VERSION)


def test_a_plain_function_does_not_say_it(plain_function: FunctionServer) -> None:
    assert VERSION_HEADER not in requests.get(f"{plain_function.url}/robots.txt", timeout=30).headers


def test_a_function_can_be_decorated_during_a_request() -> None:
    with Flask("app").test_request_context():
        pipes_function(lambda request, pipes: None)


ANOTHER_VERSION = """
import gcf_pipes._entrypoint
gcf_pipes._entrypoint.VERSION = "{version}"

@gcf_pipes.pipes_function
def main(request, pipes): ...
"""


@pytest.mark.parametrize(
    ("version", "warns"), [("0.1.99", False), ("0.2.0", True), ("1.1.0", True), ("garbage", False)]
)
def test_the_log_warns_of_another_version(
    emulator: Emulator,
    client: PipesCloudFunctionClient,
    instance: DagsterInstance,
    tmp_path: Path,
    version: str,
    warns: bool,
) -> None:
    (tmp_path / "main.py").write_text(ANOTHER_VERSION.format(version=version))
    with run_function(tmp_path / "main.py", emulator_url=emulator.url) as server:
        result = materialize([calling_asset(server.url, {})], resources={"cloud_function": client}, instance=instance)
    warnings = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert [f"[pipes] gcf_pipes {version} is deployed" in warning for warning in warnings] == [True] * warns
