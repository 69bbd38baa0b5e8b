"""Ends a run from inside: when Dagster has terminated it, or when the function's timeout comes close."""

import logging
import time
from typing import Final

from gcf_pipes._errors import PipesCancelledError, PipesDeadlineExceededError, PipesStorageError
from gcf_pipes._protocol import SessionLocation
from gcf_pipes._storage import ObjectStore

LOOK_INTERVAL: Final = 10.0
"""Seconds between two looks for the cancel marker; with the reader's own, an idle minute stays under 60 reads."""
LOOK_TIMEOUT: Final = 2.0
"""Seconds for which one look is retried."""
MAX_MARKER_BYTES: Final = 1024

_logger = logging.getLogger("gcf_pipes")


class RunLimits:
    """Whether a run may go on.

    Args:
        store: The bucket.
        location: Where the session keeps its objects.
        timeout: Seconds that the run may take from now on, or None for any time.
    """

    def __init__(self, store: ObjectStore, location: SessionLocation, timeout: float | None) -> None:
        self._store = store
        self._location = location
        self._timeout = timeout
        self._started = time.monotonic()
        self._next_look = self._started + LOOK_INTERVAL
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether Dagster has terminated the run."""
        return self._cancelled

    def look(self) -> None:
        """Look for the cancel marker, if the last look is long enough ago."""
        if self._cancelled or time.monotonic() < self._next_look:
            return
        try:
            marker = self._store.read(self._location.cancel_key, max_bytes=MAX_MARKER_BYTES, timeout=LOOK_TIMEOUT)
        except PipesStorageError as error:
            _logger.warning("[pipes] cannot tell whether Dagster has terminated the run: %s", error)
            self._next_look = float("inf")
            return
        self._cancelled = marker is not None
        self._next_look = time.monotonic() + LOOK_INTERVAL

    def check(self) -> None:
        """Raise if the run may not go on.

        Raises:
            PipesCancelledError: Dagster has terminated the run.
            PipesDeadlineExceededError: The run has taken as long as it may.
        """
        if self._cancelled:
            raise PipesCancelledError("Dagster has terminated the run.")
        elapsed = time.monotonic() - self._started
        if self._timeout is not None and elapsed > self._timeout:
            raise PipesDeadlineExceededError(
                f"The function ran out of time after {elapsed:.0f} s. Give it less work at once, or a longer timeout: "
                "deploy it with `--timeout`, and set `function_timeout` of the Dagster resource if that gives its URL."
            )
