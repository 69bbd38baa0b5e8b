"""What a resource has open: its identity, its clients."""

from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar

T = TypeVar("T")


class Connections:
    """Creates each connection when it is first needed, and once, however many threads need it."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._open: dict[str, Any] = {}

    def get(self, name: str, create: Callable[[], T]) -> T:
        """Return the connection of that name, which `create` creates the first time."""
        with self._lock:
            if name not in self._open:
                self._open[name] = create()
            connection: T = self._open[name]
            return connection

    def close(self) -> None:
        """Close what can be closed."""
        with self._lock:
            for connection in self._open.values():
                if close := getattr(connection, "close", None):
                    close()
            self._open.clear()
