"""Stops a call from inside: after Dagster has terminated its run, or shortly before the function's timeout."""

import logging
import math
import time
from threading import Event, Thread
from typing import Final

from gcf_pipes._shared.errors import PipesCancelledError, PipesDeadlineExceededError
from gcf_pipes._shared.own_logs import log
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

POLL_INTERVAL: Final = 10.0
"""Seconds between two polls for the cancel marker. With the reader's polls, an idle minute has fewer than 60 reads."""
POLL_TIMEOUT: Final = 10.0
"""Seconds that one poll may take, with its retries. Nobody waits for it."""
MAX_MARKER_BYTES: Final = 1024

FLUSH_RESERVE: Final = 10.0
"""Seconds of the timeout that are kept for storing the last messages; at most a tenth of it."""
RESPONSE_RESERVE: Final = 1.0
"""Seconds of the timeout that are kept for the response; at most a hundredth of it."""


class Cancellation:
    """Polls for the cancel marker in a thread that nobody waits for, so that a stalled read delays nothing else.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        shared: A prefix above it, whose marker is for the sessions of many calls, or None.
    """

    def __init__(self, store: ObjectStore, prefix: SessionPrefix, shared: SessionPrefix | None = None) -> None:
        self._store = store
        self._keys = [each.cancel_key for each in (prefix, shared) if each]
        self._cancelled = False
        self._warned = False
        self._stopped = Event()
        self._poller = Thread(target=self._poll_until_stopped, name=f"pipes cancellation {prefix.uri}", daemon=True)

    @property
    def cancelled(self) -> bool:
        """Whether Dagster has terminated the run."""
        return self._cancelled

    def start(self) -> None:
        """Start polling."""
        self._poller.start()

    def stop(self) -> None:
        """Stop polling, without waiting for a poll under way."""
        self._stopped.set()

    def check(self) -> None:
        """Raise if Dagster has terminated the run.

        Raises:
            PipesCancelledError: Dagster has terminated the run.
        """
        if self._cancelled:
            raise PipesCancelledError("Dagster has terminated the run.")

    def _poll_until_stopped(self) -> None:
        while not self._cancelled and not self._stopped.wait(POLL_INTERVAL):
            self._poll()

    def _poll(self) -> None:
        try:
            self._cancelled = any(map(self._exists, self._keys))
        except Exception as error:  # noqa: BLE001 - the next poll may find the marker
            if not self._warned:
                self._warned = True
                text = "[pipes] cannot tell whether Dagster has terminated the run, will try again: %s"
                log(logging.WARNING, text, error)

    def _exists(self, key: str) -> bool:
        return self._store.read(key, max_bytes=MAX_MARKER_BYTES, timeout=POLL_TIMEOUT) is not None


class CallDeadline:
    """When a call must end, counted from the arrival of its request.

    Args:
        timeout: Seconds that the request may take, or None if it is not limited.
        arrived: When the request arrived (`time.monotonic`). Default: now.

    Attributes:
        flush_until: When the last messages must be stored (`time.monotonic`).
    """

    def __init__(self, timeout: float | None = None, arrived: float | None = None) -> None:
        self._arrived = time.monotonic() if arrived is None else arrived
        ends_at = math.inf if timeout is None else self._arrived + timeout
        self._work_until = ends_at - min(FLUSH_RESERVE, (timeout or 0) / 10)
        self.flush_until: float = ends_at - min(RESPONSE_RESERVE, (timeout or 0) / 100)

    def check(self) -> None:
        """Raise if only the time for the last flush is left.

        Raises:
            PipesDeadlineExceededError: No time is left for the function's code.
        """
        now = time.monotonic()
        if now > self._work_until:
            raise PipesDeadlineExceededError(
                f"The function ran out of time after {now - self._arrived:.0f} s.\nFix: Give it less work per call, "
                "or deploy it with `--timeout` set higher. If you call it by URL, raise `function_timeout` of the "
                "Dagster resource too."
            )
