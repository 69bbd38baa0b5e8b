"""`run(function=...)` finds the functions that run on this machine, and only with an emulator."""

import json

import pytest

from dagster_gcf_pipes import PipesCloudFunctionRequestError
from dagster_gcf_pipes._connection_errors import describe_connection_error
from dagster_gcf_pipes._functions_api import FunctionLookup, Target, resolve_target
from tests.quotes import Quote

URL = "http://127.0.0.1:8080"


def resolve(function: str) -> Target:
    return resolve_target(
        function=function,
        function_url=None,
        project="my-project",
        region="europe-west1",
        function_timeout=60,
        lookup=FunctionLookup(),
    )


@pytest.fixture(autouse=True)
def local_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9090")
    monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", json.dumps({"orders": URL}))


@pytest.mark.parametrize("name", ["orders", "projects/my-project/locations/europe-west1/functions/orders"])
def test_a_local_function_is_called_in_place_of_the_deployed_one(name: str) -> None:
    target = resolve(name)
    assert (target.url, target.timeout, target.name.project) == (URL, 60, None)


def test_an_unknown_function_is_not_called_in_the_cloud(quote: Quote) -> None:
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        resolve("customers")
    quote("unknown_local_function", str(caught.value.description))


def test_without_an_emulator_no_local_function_is_called(monkeypatch: pytest.MonkeyPatch, quote: Quote) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        resolve("orders")
    quote("local_functions_without_an_emulator", str(caught.value.description))


@pytest.mark.parametrize(
    "text",
    [
        "orders",
        "[" * 100_000,
        "[]",
        '{"orders": 8080}',
        '{"orders": "127.0.0.1:8080"}',
        '{"orders": "https://orders.example.com"}',
        '{"orders": "http://127.0.0.1.example.com"}',
    ],
)
def test_a_variable_that_is_not_valid_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", text)
    with pytest.raises(PipesCloudFunctionRequestError, match="Expected "):
        resolve("orders")


def test_the_error_of_a_variable_that_is_not_valid_is_quoted(monkeypatch: pytest.MonkeyPatch, quote: Quote) -> None:
    monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", '{"orders": 8080}')
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        resolve("orders")
    quote("local_functions_variable", str(caught.value.description))


@pytest.mark.parametrize(("url", "retryable"), [(URL, True), ("http://127.0.0.1:8081", False)])
def test_a_refused_connection_is_retried_for_a_function_of_dev(url: str, retryable: bool) -> None:
    assert describe_connection_error(ConnectionRefusedError(), url, (1, 1)).retryable is retryable
