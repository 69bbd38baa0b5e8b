"""The languages and the channels: how to start a function, and how to make the resource that calls it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import FunctionServer
from tests.cases.case import Channel, Language
from tests.cases.nodejs import serve_nodejs
from tests.cases.python import serve_python
from tests.faults.stack import ProxiedClient

LANGUAGES: Final[dict[Language, Callable[[str], AbstractContextManager[FunctionServer]]]] = {
    "Python": serve_python,
    "Node.js": serve_nodejs,
}
"""Run the function of a language while a block runs, with the URL of the storage."""


def bucket_client(bucket: str, storage_url: str, **settings: Any) -> PipesCloudFunctionClient:
    """Return a resource whose messages take a bucket."""
    return ProxiedClient(bucket=bucket, api_endpoint=storage_url, **settings)


def response_client(_bucket: str, _storage_url: str, **settings: Any) -> PipesCloudFunctionClient:
    """Return a resource whose messages take the response."""
    return PipesCloudFunctionClient(messages="response", **settings)


CHANNELS: Final[dict[Channel, Callable[..., PipesCloudFunctionClient]]] = {
    "bucket": bucket_client,
    "response": response_client,
}
"""Make the resource of a channel, with the name of the bucket, the URL of the storage and further settings."""
