"""The end of a session of `open_pipes_session`: who waits for the last messages, and who does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from dagster import PipesMessageHandler
from dagster_pipes import PipesParams

from dagster_gcf_pipes._messages.read_to_end import read_to_end
from dagster_gcf_pipes._messages.record import SessionRecord

HANDLER = cast("PipesMessageHandler", None)


class Session:
    """Counts how often somebody waits for its messages."""

    record = SessionRecord()

    def __init__(self) -> None:
        self.drained = 0

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        yield {}

    def drain(self, chunk_count: int | None, *, timeout: float) -> None:
        self.drained += 1


@pytest.mark.parametrize(("error", "drained"), [(ValueError, 1), (KeyboardInterrupt, 0)])
def test_an_interruption_waits_for_nothing(error: type[BaseException], drained: int) -> None:
    session: Any = Session()
    with pytest.raises(error), read_to_end(session, HANDLER, drain_timeout=60):
        raise error
    assert session.drained == drained


def test_a_block_that_ends_waits_once() -> None:
    session: Any = Session()
    with read_to_end(session, HANDLER, drain_timeout=60):
        pass
    assert session.drained == 1
