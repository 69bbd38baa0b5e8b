"""What Dagster writes for a function that it no longer waits for.

The HTTP call cannot tell it: the platform passes no disconnect on. Two objects can: the cancel marker ends a function
that runs, and a first chunk of ours keeps one from starting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from logging import Logger
from typing import Final

from gcf_pipes import PipesObjectExistsError, PipesObjectTooLargeError, PipesStorageError
from gcf_pipes._protocol import HEARTBEAT, SessionPrefix
from gcf_pipes._storage import ObjectStore

from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._reader_session import ReaderSession

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
        prefix: The session's prefix in the bucket.
        log: Told why the function is to stop.
    """

    def __init__(self, store: ObjectStore, prefix: SessionPrefix, log: Logger) -> None:
        self._store = store
        self._prefix = prefix
        self._log = log

    @contextmanager
    def written_if_interrupted(self, reader: ReaderSession) -> Iterator[None]:
        """Write the marker if the block is interrupted, or fails in a way that nobody has foreseen.

        A function that has not opened its session by then is kept from starting: it would not see the marker for its
        first seconds.

        Args:
            reader: Knows whether the function has opened its session, and whether it has closed it.
        """
        try:
            yield
        except PipesCloudFunctionError:
            raise  # the call was refused before it was made
        except BaseException as error:
            if not reader.record.opened:
                self.claim_session()
            if not reader.record.closed:
                reason = "the call failed unexpectedly" if isinstance(error, Exception) else "the run is terminated"
                self.write(reason)
            raise

    def write(self, reason: str) -> None:
        """Write the marker."""
        self._log.warning(f"[pipes] {reason}: telling the function to stop, if it runs, through {self._prefix.uri}")
        try:
            self._store.create(self._prefix.cancel_key, b"{}", timeout=TIMEOUT)
        except PipesStorageError as error:
            self._log.warning(f"[pipes] could not tell the function to stop; it may run until its timeout: {error}")

    def claim_session(self) -> Claim:
        """Claim the session in the function's stead, so that a delivery that comes late runs nothing."""
        key = self._prefix.chunk_key(1)
        try:
            if self._is_there(key):
                return Claim.FUNCTION
            self._store.create(key, HEARTBEAT, timeout=TIMEOUT)
        except PipesObjectExistsError:
            return Claim.FUNCTION
        except PipesStorageError as error:
            self._log.warning(f"[pipes] could not close the session to deliveries that come late: {error}")
            return Claim.UNKNOWN
        return Claim.OURS

    def _is_there(self, key: str) -> bool:
        """Whether an object is known to be there, for an emulator that would replace it whatever the precondition."""
        try:
            return self._store.read(key, max_bytes=len(HEARTBEAT), timeout=TIMEOUT) is not None
        except PipesObjectTooLargeError:
            return True
        except PipesStorageError:
            return False
