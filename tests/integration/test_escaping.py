"""Only our errors escape from a run, and a call that cannot work fails before anything is sent."""

from datetime import datetime, timezone
from typing import Any

import pytest
from dagster import Failure, build_asset_context
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import storage

from dagster_gcf_pipes import (
    PipesCloudFunctionBucketError,
    PipesCloudFunctionClient,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes.local import FunctionServer
from tests.dagster_runs import calling_asset, failure_text, run
from tests.quotes import Quote

NEVER_CALLED = "https://orders.invalid/"


def error_of(client: PipesCloudFunctionClient, **arguments: Any) -> PipesCloudFunctionError:
    with pytest.raises(PipesCloudFunctionError) as caught:
        client.run(context=build_asset_context(), **{"function_url": NEVER_CALLED, **arguments})
    return caught.value


def _circular() -> dict[str, Any]:
    extras: dict[str, Any] = {}
    extras["self"] = extras
    return extras


@pytest.mark.parametrize(
    ("extras", "text"),
    [
        ({"since": datetime(2024, 1, 1, tzinfo=timezone.utc)}, "Expected `extras['since']` to be JSON, got datetime."),
        ({"a": [{"b": {1}}]}, "Expected `extras['a'][0]['b']` to be JSON, got set."),
        ({"a": float("nan")}, "Expected `extras['a']` to be JSON, got nan."),
        ({"a": {1: "b"}}, "Expected the keys of `extras['a']` to be strings, got 1."),
        ({None: "b"}, "Expected the keys of `extras` to be strings, got None."),
        ([1], "Expected `extras` to be a mapping that can become a JSON object, got list."),
        ("text", "Expected `extras` to be a mapping that can become a JSON object, got str."),
        (_circular(), "Expected `extras` to have at most 100 levels"),
    ],
)
def test_extras_that_are_not_json_are_refused_at_once(
    bucket: str, storage_client: storage.Client, extras: Any, text: str
) -> None:
    error = error_of(PipesCloudFunctionClient(bucket=bucket, inline_context_limit=0), extras=extras)
    assert isinstance(error, PipesCloudFunctionRequestError)
    assert text in str(error.description)
    assert error.allow_retries is False
    assert list(storage_client.list_blobs(bucket)) == []


def test_a_large_context_for_a_missing_bucket_names_it(function: FunctionServer, quote: Quote) -> None:
    client = PipesCloudFunctionClient(bucket="no-such-bucket", inline_context_limit=0)
    result, _ = run(calling_asset(function.url, {"mode": "ok"}), client)
    quote("bucket_not_found_by_dagster", failure_text(result))
    with pytest.raises(PipesCloudFunctionBucketError) as caught:
        calling_asset(function.url, {"mode": "ok"})(build_asset_context(), cloud_function=client)
    assert caught.value.allow_retries is False


@pytest.mark.parametrize(
    "url",
    [
        "https://a..b/",
        "https://[::1",
        "https://[v1.x]/",
        "https://host:port/",
        "https://host:99999/",
        f"https://{'a' * 64}.com/",
        "https://*.example.com/",
        "https://\u2603..com/",
        "https://",
        "",
        5,
        b"https://host/",
    ],
)
def test_a_malformed_url_is_refused(client: PipesCloudFunctionClient, url: Any) -> None:
    error = error_of(client, function_url=url)
    assert isinstance(error, PipesCloudFunctionRequestError)
    assert error.allow_retries is False


def test_a_name_that_is_not_a_text_is_refused(client: PipesCloudFunctionClient, quote: Quote) -> None:
    error = error_of(client, function_url=None, function=5)
    quote("function_not_a_string", str(error.description))


class ClientWithoutCredentials(PipesCloudFunctionClient):
    """A client whose storage client finds no credentials."""

    def get_storage_client(self) -> storage.Client:
        raise DefaultCredentialsError("Your default credentials were not found.")


def test_a_storage_client_without_credentials_says_what_to_do(bucket: str, quote: Quote) -> None:
    error = error_of(ClientWithoutCredentials(bucket=bucket))
    assert isinstance(error, PipesCloudFunctionIdentityError)
    quote("storage_client_without_credentials", str(error.description))


def test_all_of_our_errors_are_failures_of_dagster(client: PipesCloudFunctionClient) -> None:
    assert isinstance(error_of(client, event=[]), Failure)
