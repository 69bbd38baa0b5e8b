"""Creates a value once, at its first use."""

from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Once(Generic[_T]):
    """A value that is created at its first use, once, however many threads ask for it.

    Its deep copies and pickles start empty: neither the lock nor the value, for example a client, can be pickled.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._values: list[_T] = []  # at most one
        self._is_creating = False

    def get(self, create: Callable[[], _T]) -> _T:
        """Return the value; create it if there is none. If `create` raises, the next call creates it.

        Raises:
            RuntimeError: `create` itself needs the value.
        """
        with self._lock:
            if not self._values:
                if self._is_creating:
                    raise RuntimeError(f"{create} needs the value that it creates. Fix: Break the circle.")
                self._is_creating = True
                try:
                    self._values.append(create())
                finally:
                    self._is_creating = False
            return self._values[0]

    def pop(self) -> _T | None:
        """Forget the value and return it, for example to close it. None if there is none."""
        with self._lock:
            return self._values.pop() if self._values else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
