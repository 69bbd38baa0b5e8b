"""Wrong arguments of `run` are refused before anything is opened, and the error says what to write."""

from typing import Any

import pytest
from dagster import build_asset_context

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionRequestError
from tests.quotes import Quote


@pytest.fixture
def client() -> PipesCloudFunctionClient:
    """A client that can open nothing: no test needs a bucket or a function."""
    return PipesCloudFunctionClient(bucket="my-bucket")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("functionurl", "Write `function_url=` in place of `functionurl=`."),
        ("function_ulr", "Write `function_url=` in place of `function_ulr=`."),
        ("url", "Write `function_url=` in place of `url=`."),
        ("name", "Write `function=` in place of `name=`."),
        ("function_name", "Write `function=` in place of `function_name=`."),
        ("evnt", "Write `event=` in place of `evnt=`."),
        ("payload", "Write `event=` in place of `payload=`."),
        ("json", "Write `event=` in place of `json=`."),
        ("extra", "Write `extras=` in place of `extra=`."),
        ("bucket", "Pass `bucket` to the resource: `PipesCloudFunctionClient(bucket=...)`."),
        ("function_timeout", "Pass `function_timeout` to the resource"),
        ("cleanups", "Pass `cleanup` to the resource"),
        ("table_uri", "Leave `table_uri` out, or put it into `event`."),
    ],
)
def test_an_unknown_argument_gets_what_was_meant(client: PipesCloudFunctionClient, name: str, fix: str) -> None:
    arguments: dict[str, Any] = {"context": build_asset_context(), name: "a secret"}
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        client.run(**arguments)
    text = str(caught.value.description)
    assert text.startswith(
        f"Expected some of the arguments context, function, function_url, event, extras, reattach, got '{name}'"
    )
    assert f"Fix: {fix}" in text
    assert "a secret" not in text


def test_each_unknown_argument_is_corrected(client: PipesCloudFunctionClient) -> None:
    arguments: dict[str, Any] = {"ctx": build_asset_context(), "url": "https://...", "body": {}}
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        client.run(**arguments)
    assert str(caught.value.description).endswith(
        "got 'ctx', 'url', 'body'.\nFix: Write `context=` in place of `ctx=`. "
        "Write `function_url=` in place of `url=`. Write `event=` in place of `body=`."
    )


def test_a_missing_context_is_named(client: PipesCloudFunctionClient, quote: Quote) -> None:
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        client.run(function_url="https://orders.example.com")  # type: ignore[call-arg]
    quote("no_context", str(caught.value.description))


def test_the_own_arguments_of_a_subclass_are_its_own(client: PipesCloudFunctionClient) -> None:
    class Tables(PipesCloudFunctionClient):
        def run(self, *, context: Any, table: str) -> Any:  # type: ignore[override]
            return super().run(context=context, event={"table": table})

    with pytest.raises(PipesCloudFunctionRequestError, match="Expected either `function`, a name, or `function_url`"):
        Tables(bucket="my-bucket").run(context=build_asset_context(), table="orders")
