"""The reader of many sessions, with a store that has nothing."""

from threading import Event, Lock
from typing import TYPE_CHECKING, Any, cast

import pytest
from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD, PipesMessage
from gcf_pipes._shared.protocol import SessionPrefix

from dagster_gcf_pipes._messages.log_entries import LogEntries
from dagster_gcf_pipes._messages.shared_reader import SharedReader

if TYPE_CHECKING:
    from gcf_pipes._shared.storage import ObjectStore


class EmptyStore:
    def use_connections(self, count: int) -> None:
        pass


class Entries(LogEntries):
    """Tells when the thread that lists has flushed once. Its next round is far away."""

    def __init__(self, handled: list[PipesMessage]) -> None:
        super().__init__(handled.append)
        self.flushed = Event()

    def flush(self) -> None:
        super().flush()
        self.flushed.set()


def line(text: str) -> PipesMessage:
    message: Any = {
        PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION,
        "method": "log",
        "params": {"message": text, "level": "INFO"},
    }
    return cast("PipesMessage", message)


def test_lines_that_were_kept_are_handed_on_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread was to flush them, and never came to it."""
    monkeypatch.setattr("dagster_gcf_pipes._messages.shared_reader.LIST_INTERVAL", 3600.0)
    handled: list[PipesMessage] = []
    entries, handling = Entries(handled), Lock()
    reader = SharedReader(cast("ObjectStore", EmptyStore()), SessionPrefix("bucket", "root"), entries, handling)
    with reader.reading():
        assert entries.flushed.wait(30)
        with handling:
            entries.add(line("the last line"), "1.json", more_wait=True)
        assert handled == []
    assert handled == [line("the last line")]
