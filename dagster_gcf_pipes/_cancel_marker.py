"""What Dagster writes for a function that it no longer waits for.

The HTTP call cannot tell it: the platform passes no disconnect on. Two objects can: the cancel marker ends a function
that runs, and a first chunk of ours keeps one from starting.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from logging import Logger
from typing import Final

from gcf_pipes import PipesObjectExistsError, PipesObjectTooLargeError, PipesStorageError
from gcf_pipes._protocol import HEARTBEAT, SessionLocation
from gcf_pipes._storage import ObjectStore

TIMEOUT: Final = 5.0
"""Seconds that each request may take, with its retries."""


class Claim(Enum):
    """Who has claimed a session, that is, created its first chunk."""

    OURS = auto()
    """Dagster: nothing runs, and nothing will."""
    FUNCTION = auto()
    """The function: it was started."""
    UNKNOWN = auto()
    """The bucket could not be asked."""


class CancelMarker:
    """The cancel marker of one session, and the claim that closes it to deliveries that come late.

    Args:
        store: The bucket.
        location: Where the session keeps its objects.
        log: Told why the function is to stop.
    """

    def __init__(self, store: ObjectStore, location: SessionLocation, log: Logger) -> None:
        self._store = store
        self._location = location
        self._log = log

    @contextmanager
    def written_if_interrupted(self, *, unless: Callable[[], bool]) -> Iterator[None]:
        """Write the marker if Dagster interrupts the block. An interrupt is a BaseException, not an Exception.

        Args:
            unless: Whether the function has ended, so that there is nothing to stop.
        """
        try:
            yield
        except Exception:
            raise
        except BaseException:
            if not unless():
                self.write("the run is terminated")
            raise

    def write(self, reason: str) -> None:
        """Write the marker."""
        self._log.warning(f"[pipes] {reason}: telling the function to stop through {self._location.uri}")
        try:
            self._store.create(self._location.cancel_key, b"{}", timeout=TIMEOUT)
        except PipesStorageError as error:
            self._log.warning(f"[pipes] could not tell the function to stop; it may run until its timeout: {error}")

    def claim_session(self) -> Claim:
        """Claim the session in the function's stead, so that a delivery that comes late runs nothing."""
        key = self._location.chunk_key(1)
        try:
            if self._store.read(key, max_bytes=len(HEARTBEAT), timeout=TIMEOUT) is not None:
                return Claim.FUNCTION
            self._store.create(key, HEARTBEAT, timeout=TIMEOUT)
        except (PipesObjectExistsError, PipesObjectTooLargeError):
            return Claim.FUNCTION
        except PipesStorageError as error:
            self._log.warning(f"[pipes] could not close the session to deliveries that come late: {error}")
            return Claim.UNKNOWN
        return Claim.OURS
