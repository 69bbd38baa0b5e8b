"""Reads a session of `open_pipes_session` to its end: nobody else says when that is, or judges it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from dagster import PipesMessageHandler
from dagster_pipes import PipesParams

from dagster_gcf_pipes._errors import PipesCloudFunctionMessagesError
from dagster_gcf_pipes._messages.record import SessionRecord, describe_missing


class DrainableSession(Protocol):
    """The message reader of one session that waits for its last messages."""

    @property
    def record(self) -> SessionRecord:
        """What was seen of the session so far."""

    def read_messages(self, handler: PipesMessageHandler) -> AbstractContextManager[PipesParams]:
        """Read messages while the block runs."""

    def drain(self, chunk_count: int | None, *, timeout: float) -> None:
        """Announce the end of the messages, and wait until all are handled."""


@contextmanager
def read_to_end(
    session: DrainableSession, handler: PipesMessageHandler, *, drain_timeout: float
) -> Iterator[PipesParams]:
    """Read the messages of a session while the block runs, and the rest of them when the block ends.

    After an interruption, which is no `Exception`, nobody waits for the rest.

    Raises:
        PipesCloudFunctionMessagesError: On exit: messages could not be read or handled.
    """
    with session.read_messages(handler) as params:
        try:
            yield params
        except Exception:
            session.drain(None, timeout=drain_timeout)
            raise
        session.drain(None, timeout=drain_timeout)
    if missing := session.record.missing_chunks:
        raise PipesCloudFunctionMessagesError(f"Messages are missing: {describe_missing(missing, session.record)}.")
    if failure := session.record.failure:
        raise PipesCloudFunctionMessagesError(f"Could not read and handle all messages: {failure}") from failure
