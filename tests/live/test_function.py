"""A deployed, private function: what the stand-ins promise, asked of the platform itself."""

import os
import uuid
from typing import Any

import pytest
from dagster import AssetExecutionContext, MaterializeResult, asset, materialize

from dagster_gcf_pipes import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionClient,
    PipesCloudFunctionError,
)

URLS = [url for url in os.environ.get("GCF_PIPES_LIVE_FUNCTION_URL", "").split(",") if url]
BUCKET = os.environ.get("GCF_PIPES_LIVE_BUCKET", "")

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not (URLS and BUCKET), reason="GCF_PIPES_LIVE_FUNCTION_URL or GCF_PIPES_LIVE_BUCKET is not set: see tests/live"
    ),
]


def run(url: str, **fields: Any) -> MaterializeResult:
    """Materialize an asset through the function; return what it reported."""
    client = PipesCloudFunctionClient(
        bucket=BUCKET, impersonate_service_account=os.environ.get("GCF_PIPES_LIVE_SERVICE_ACCOUNT"), **fields
    )
    event = {"task": "customers", "table_uri": f"gs://{BUCKET}/live-tests/customers-{uuid.uuid4().hex}", "rows": 10}
    results: list[MaterializeResult] = []

    @asset
    def customers(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        invocation = cloud_function.run(context=context, function_url=url, event=event)
        results.append(invocation.get_materialize_result())
        return results[0]

    materialize([customers], resources={"cloud_function": client})
    return results[0]


@pytest.mark.parametrize("url", URLS)
def test_a_private_function_runs_and_its_messages_arrive(url: str) -> None:
    """Each URL of the function takes the audience that is made of it."""
    assert "cloud_function/start" in (run(url).metadata or {})


@pytest.mark.parametrize("url", URLS[:1])
def test_a_token_for_another_audience_is_refused(url: str) -> None:
    with pytest.raises(PipesCloudFunctionAccessError, match="HTTP 401"):
        run(url, audience="https://another-audience.example")


@pytest.mark.parametrize("url", URLS[:1])
def test_plain_http_is_redirected_and_not_followed(url: str) -> None:
    with pytest.raises(PipesCloudFunctionError) as caught:
        run(url.replace("https://", "http://", 1))
    assert isinstance(caught.value, PipesCloudFunctionCallError)
