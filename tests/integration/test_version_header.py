"""Every response of a function says what is deployed, also where no code of it runs."""

import re
from pathlib import Path

import pytest
import requests
from flask import Flask
from gcf_pipes import pipes_function
from gcf_pipes._shared.protocol import CAPABILITIES, PROTOCOL, PROTOCOL_HEADER, VERSION, VERSION_HEADER

from dagster_gcf_pipes.local import FunctionServer
from tests.sessions import call

ROOT = Path(__file__).parents[2]
DESCRIPTION = {PROTOCOL_HEADER: " ".join([str(PROTOCOL), *sorted(CAPABILITIES)]), VERSION_HEADER: VERSION}


def description(response: requests.Response) -> dict[str, str]:
    return {name: response.headers[name] for name in DESCRIPTION if name in response.headers}


@pytest.mark.parametrize("project", [ROOT / "pyproject.toml", ROOT / "cloud_function" / "pyproject.toml"])
def test_the_version_is_that_of_both_distributions(project: Path) -> None:
    assert re.findall('^version = "(.+)"$', project.read_text(), re.MULTILINE) == [VERSION]


@pytest.mark.parametrize("mode", ["ok", "raises"])
def test_the_response_of_a_call_has_the_headers(function: FunctionServer, bucket: str, mode: str) -> None:
    assert description(call(function.url, bucket, {"mode": mode})) == DESCRIPTION


@pytest.mark.parametrize(("path", "status"), [("", 400), ("/robots.txt", 404)])
def test_a_response_without_a_call_has_them_too(function: FunctionServer, path: str, status: int) -> None:
    response = requests.get(f"{function.url}{path}", timeout=30)
    assert (response.status_code, description(response)) == (status, DESCRIPTION)


def test_a_plain_function_does_not_say_it(plain_function: FunctionServer) -> None:
    assert description(requests.get(f"{plain_function.url}/robots.txt", timeout=30)) == {}


def test_a_function_can_be_decorated_during_a_request() -> None:
    with Flask("app").test_request_context():
        pipes_function(lambda request, pipes: None)
