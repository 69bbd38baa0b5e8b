"""The marker that tells a function to stop: an HTTP call cannot, as the platform passes no disconnect on."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger
from typing import Final

from gcf_pipes import PipesStorageError
from gcf_pipes._protocol import SessionLocation
from gcf_pipes._storage import ObjectStore

TIMEOUT: Final = 5.0
"""Seconds for which leaving the marker may take."""


class CancelMarker:
    """The marker of one session.

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
    def left_if_interrupted(self) -> Iterator[None]:
        """Leave the marker if Dagster terminates the run in the block, which raises what is no `Exception`."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self.leave("the run is terminated")
            raise

    def leave(self, reason: str) -> None:
        """Leave the marker."""
        self._log.warning(f"[pipes] {reason}: telling the function to stop through {self._location.uri}")
        try:
            self._store.create(self._location.cancel_key, b"{}", timeout=TIMEOUT)
        except PipesStorageError as error:
            self._log.warning(f"[pipes] the function cannot be told, and may go on until its timeout: {error}")
