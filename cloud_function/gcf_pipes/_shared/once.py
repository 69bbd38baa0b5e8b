"""Creates a value once, at its first use."""

from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Once(Generic[_T]):
    """A value that is created at its first use, once, however many threads ask for it.

    Copies and pickles of it start empty: neither the lock nor the value, for example a client, can be pickled.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: list[_T] = []  # at most one

    def get(self, create: Callable[[], _T]) -> _T:
        """Return the value; create it if there is none. If `create` raises, the next call creates it."""
        with self._lock:
            if not self._values:
                self._values.append(create())
            return self._values[0]

    def pop(self) -> _T | None:
        """Forget the value and return it, for example to close it. None if there is none."""
        with self._lock:
            return self._values.pop() if self._values else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
