"""Reads the chunks that are known to exist before their turn, several at a time."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gcf_pipes import PipesStorageError
from gcf_pipes._shared.deadline import in_thread

if TYPE_CHECKING:
    from concurrent.futures import Future

PARALLEL_READS: Final = 8
"""Chunks that are read at the same time, or wait for their turn. This bounds the memory."""


class ReadAhead:
    """Reads numbered chunks in parallel, each once.

    A chunk that could not be read is left to the caller, and no further ones are read ahead. So a bucket that is slow
    or unavailable gets one request after another.

    Args:
        read: Reads a chunk; returns None if it is not there.
        indexes: The numbers of the chunks.
    """

    def __init__(self, read: Callable[[int], bytes | None], indexes: range) -> None:
        self._read = read
        self._indexes = iter(indexes)
        self._reads: dict[int, Future[bytes | None]] = {}
        for _ in range(PARALLEL_READS - 1):  # the caller may be reading one itself
            self._start_next()

    def take(self, index: int) -> bytes | None:
        """Wait for a chunk and return it, or None if the caller must read it."""
        if index not in self._reads:
            return None
        self._start_next()
        try:
            data = self._reads.pop(index).result()
        except PipesStorageError:
            data = None
        if data is None:
            self._indexes = iter(())
        return data

    def _start_next(self) -> None:
        if (index := next(self._indexes, None)) is not None:
            self._reads[index] = in_thread(lambda: self._read(index))
