"""Secrets in a function's URL go only to the function."""

import pickle
from typing import Any

import pytest
from dagster import AssetExecutionContext, DagsterInstance, MaterializeResult, asset, materialize
from dagster_shared.serdes import serialize_value

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import FunctionServer

SECRETS = ("hunter1", "hunter2", "hunter3", "hunter4")


def kept_of(url: str, client: PipesCloudFunctionClient, event: dict[str, Any], answers: list[Any]) -> str:
    """Run an asset that calls a URL; return the run's events and the pickled response."""

    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        invocation = cloud_function.run(context=context, function_url=url, event=event)
        answers.append(invocation.response)
        return invocation.get_materialize_result()

    with DagsterInstance.ephemeral() as instance:
        result = materialize([orders], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        events = [serialize_value(entry) for entry in instance.all_logs(result.run_id)]
    return "\n".join([*events, *(repr(pickle.dumps(answer)) for answer in answers)])


def with_secrets(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://hunter1:hunter2@{rest}/?key=hunter3#hunter4"


def test_the_function_gets_the_whole_query_and_dagster_none_of_it(
    reports: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    answers: list[Any] = []
    kept = kept_of(with_secrets(reports.url), client, {"query": True}, answers)
    assert answers[0].json()["query"] == "key=hunter3"
    kept = kept.replace("key=hunter3", "", 1)  # what the function answered
    assert reports.url in kept
    assert [secret for secret in SECRETS if secret in kept] == []


@pytest.mark.parametrize("event", [{"fails": True}, {"checks": [{"check_name": 5}]}])
def test_the_error_of_the_function_shows_none_of_it(
    reports: FunctionServer, client: PipesCloudFunctionClient, event: dict[str, Any]
) -> None:
    kept = kept_of(with_secrets(reports.url), client, event, [])
    assert "STEP_FAILURE" in kept
    assert [secret for secret in SECRETS if secret in kept] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9",  # nothing listens there
        "https://host:port",
        "https://a..b",
        "http://orders-1234567890-uc.a.run.app",
    ],
)
def test_the_error_of_a_call_that_was_not_made_shows_none_of_it(bucket: str, url: str) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, max_attempts=1)
    kept = kept_of(with_secrets(url), client, {}, [])
    assert "STEP_FAILURE" in kept
    assert [secret for secret in SECRETS if secret in kept] == []
