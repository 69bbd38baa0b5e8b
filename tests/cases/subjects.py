"""The languages and the channels, and the parts that run for each."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest
from google.oauth2.credentials import Credentials

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, storage_client
from tests.cases.case import Channel, Language, Subject
from tests.cases.nodejs import serve_nodejs
from tests.cases.python import serve_python
from tests.cases.stage import Stage
from tests.faults.proxy import FaultProxy
from tests.faults.stack import Link, ProxiedClient
from tests.google.functions_api import TOKEN
from tests.google.logging_agent import Agent
from tests.google.logging_cloud import PROJECT, logging_cloud

OnLine = Callable[[str], None]

LANGUAGES: Final[dict[Language, Callable[[str, OnLine], AbstractContextManager[FunctionServer]]]] = {
    "Python": serve_python,
    "Node.js": serve_nodejs,
}
"""Run the function of a language while a block runs, with the URL of the storage and a callback for its output."""


@dataclass(frozen=True)
class Medium:
    """What takes the messages from the function to Dagster.

    Attributes:
        new_client: Makes the resource, with its settings.
        on_line: Gets each line that the function prints.
    """

    new_client: Callable[..., PipesCloudFunctionClient]
    on_line: OnLine = lambda _: None


@contextmanager
def through_bucket(bucket: str, storage_url: str) -> Iterator[Medium]:
    yield Medium(partial(ProxiedClient, bucket=bucket, api_endpoint=storage_url))


@contextmanager
def through_response(_bucket: str, _storage_url: str) -> Iterator[Medium]:
    yield Medium(partial(PipesCloudFunctionClient, messages="response"))


@contextmanager
def through_logging(_bucket: str, _storage_url: str) -> Iterator[Medium]:
    """Run Cloud Logging. Entries are up to half a second late, and some come twice."""
    with logging_cloud() as cloud, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dagster_gcf_pipes._messages.session_reader.MAX_SILENT_HEARTBEATS", 0.2
        )  # else a crash takes 60 s
        patch.setattr("dagster_gcf_pipes._messages.entry_session.INGESTION_ALLOWANCE", 2.0)
        agent = Agent(cloud.api, PROJECT, delay=(0.0, 0.5), duplicates=0.2)
        new_client = partial(LoggingClient, messages="logging", project=PROJECT)
        yield Medium(new_client, lambda line: agent.take([line.encode()]))


class LoggingClient(PipesCloudFunctionClient):
    """Has a token that the stand-in of Cloud Logging accepts."""

    def get_credentials(self) -> Credentials:
        return Credentials(token=TOKEN)


CHANNELS: Final[dict[Channel, Callable[[str, str], AbstractContextManager[Medium]]]] = {
    "bucket": through_bucket,
    "logging": through_logging,
    "response": through_response,
}
"""Run what takes messages while a block runs, with the name of a bucket and the URL of the storage."""


@contextmanager
def run_stage(subject: Subject, emulator: Emulator) -> Iterator[Stage]:
    """Run the parts for a subject while the block runs."""
    with ExitStack() as stack:
        enforce = not emulator.honours_preconditions
        writer = stack.enter_context(FaultProxy(emulator.url, enforce_preconditions=enforce))
        reader = stack.enter_context(FaultProxy(emulator.url, enforce_preconditions=enforce))
        client = stack.enter_context(closing(storage_client(emulator.url)))
        bucket = f"bucket-{uuid.uuid4().hex}"
        client.create_bucket(bucket)
        medium = stack.enter_context(CHANNELS[subject.channel](bucket, reader.url))
        serve = partial(LANGUAGES[subject.language], writer.url, medium.on_line)
        server = stack.enter_context(serve())
        call = stack.enter_context(FaultProxy(server.url))
        links: dict[Link, FaultProxy] = {"writer": writer, "reader": reader, "call": call}
        yield Stage(server, serve, medium.new_client, links, bucket, client)
