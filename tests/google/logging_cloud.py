"""Cloud Logging, and functions that print their messages there: real requests, real pipes, a reader of this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from dagster_pipes import PipesMessage
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._encoding import make_message
from gcf_pipes._logging_channel import LoggingChannel
from google.oauth2.credentials import Credentials

from dagster_gcf_pipes._messages.entry_api import EntryApi
from dagster_gcf_pipes._messages.entry_reader import EntryReader
from dagster_gcf_pipes._messages.entry_session import EntrySession
from dagster_gcf_pipes._messages.log_entries import LogEntries
from tests.google.functions_api import TOKEN
from tests.google.logging_agent import Agent
from tests.google.logging_api import LoggingApi
from tests.google.logging_tail import LoggingTail
from tests.serving import serving

PROJECT = "my-project"
READ_INTERVAL = 0.1
_MODULES = "dagster_gcf_pipes._messages"


class LoggingCloud:
    """The API and its clients.

    Attributes:
        api: Its lists.
        tail: Its live tailing.
    """

    def __init__(self, api: LoggingApi, tail: LoggingTail) -> None:
        self.api = api
        self.tail = tail

    def reader(self, *, project: str = PROJECT, view: str | None = None, token: str = TOKEN) -> EntryReader:
        return EntryReader(EntryApi(project, lambda: Credentials(token=token), view=view))

    @contextmanager
    def instance(self, **options: Any) -> Iterator[None]:
        """Run an instance of a function: what this process prints as messages becomes entries.

        Args:
            options: Those of the agent.
        """
        reading, writing = os.pipe()
        agent = Agent(self.api, PROJECT, **options)
        with open(reading, "rb") as output, pytest.MonkeyPatch.context() as patch:
            patch.setattr("gcf_pipes._logging_channel.STDOUT", writing)
            collecting = Thread(target=agent.collect, args=(output,))
            collecting.start()
            try:
                yield
            finally:
                os.close(writing)
                collecting.join()


@contextmanager
def logging_cloud(*, tails: bool = True, read_interval: float = READ_INTERVAL) -> Iterator[LoggingCloud]:
    """Run Cloud Logging, whose clients may read ten times as often as the real one's.

    Args:
        tails: Whether it has live tailing.
        read_interval: Seconds between two reads of a project.
    """
    api = LoggingApi(reads_per_minute=round(120 / read_interval))
    tail = LoggingTail(api)
    with serving(api.app) as port, tail.serving() as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{_MODULES}.entry_api.API_URL", f"http://127.0.0.1:{port}")
        patch.setattr(f"{_MODULES}.entry_api.TAIL_ADDRESS", address if tails else "127.0.0.1:1")
        patch.setattr(f"{_MODULES}.entry_pace.READ_INTERVAL", read_interval)
        patch.setattr(f"{_MODULES}.entry_reader.READ_INTERVAL", read_interval)
        patch.setattr(f"{_MODULES}.entry_pace._paces", {})
        yield LoggingCloud(api, tail)


class Handler:
    """Dagster's handler: the messages that arrive, in order."""

    def __init__(self) -> None:
        self.messages: list[PipesMessage] = []

    def handle_message(self, message: PipesMessage) -> None:
        self.messages.append(message)

    @property
    def methods(self) -> list[str]:
        return [message["method"] for message in self.messages]

    @property
    def texts(self) -> list[str]:
        logged = [(message["params"] or {})["message"] for message in self.messages if message["method"] == "log"]
        return [line for text in logged for line in text.split("\n")]


def new_session(reader: EntryReader) -> EntrySession:
    return EntrySession(reader, include_stdio_in_messages=False, new_entries=LogEntries)


def opened(interval: float = 20.0) -> PipesMessage:
    return make_message("opened", {"extras": {"heartbeat_interval": interval, "closes_with_request": True}})


def log_line(text: str) -> PipesMessage:
    return make_message("log", {"message": text, "level": "INFO"})


def run_function(session: str, lines: int = 0, *, size: int = 0, closes: bool = True) -> int:
    """Run a function that logs so many lines; return how many entries it printed."""
    channel = LoggingChannel(session, CallDeadline())
    channel.write_message(opened())
    for n in range(lines):
        channel.write_message(log_line(f"{n} {'x' * size}".rstrip()))
    if closes:
        channel.write_message(make_message("closed", {}))
    channel.close()
    return channel.chunk_count
