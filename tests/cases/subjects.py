"""The languages and the channels: how to start a function, and how to make the resource that calls it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import FunctionServer, run_function
from tests.cases.case import Channel, Language, Subject
from tests.faults.stack import ProxiedClient

FUNCTIONS: Final = Path(__file__).parent / "functions"

Serve = Callable[[str], AbstractContextManager[FunctionServer]]
"""Runs the function while a block runs, with the URL of the storage."""

SUBJECTS: Final = (Subject("Python", "bucket"),)
"""All subjects, in the order of the columns in the documentation."""


@contextmanager
def serve_python(storage_url: str) -> Iterator[FunctionServer]:
    """Run the function in Python."""
    with run_function(FUNCTIONS / "python", emulator_url=storage_url, threads=16) as server:
        yield server


LANGUAGES: Final[dict[Language, Serve]] = {"Python": serve_python}


def bucket_client(bucket: str, storage_url: str, **settings: Any) -> PipesCloudFunctionClient:
    """Return a resource whose messages take a bucket."""
    return ProxiedClient(bucket=bucket, api_endpoint=storage_url, **settings)


CHANNELS: Final[dict[Channel, Callable[..., PipesCloudFunctionClient]]] = {"bucket": bucket_client}
