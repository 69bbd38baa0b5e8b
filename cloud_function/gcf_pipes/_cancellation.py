"""Ends a run from inside: when Dagster has cancelled it, or when the function's timeout comes close."""

import logging
import math
import time
from threading import Event, Thread
from typing import Final

from gcf_pipes._errors import PipesCancelledError, PipesDeadlineExceededError
from gcf_pipes._own_logs import log
from gcf_pipes._protocol import SessionPrefix
from gcf_pipes._storage import ObjectStore

POLL_INTERVAL: Final = 10.0
"""Seconds between two polls for the cancel marker; with the reader's own, an idle minute stays under 60 reads."""
POLL_TIMEOUT: Final = 10.0
"""Seconds that one poll may take, with its retries. Nobody waits for it."""
MAX_MARKER_BYTES: Final = 1024

FLUSH_RESERVE: Final = 10.0
"""Seconds before its timeout at which a run must end so that its last messages can be stored, or a tenth."""
RESPONSE_RESERVE: Final = 1.0
"""Seconds before its timeout at which a run answers whatever is stored by then, or a hundredth."""


class Cancellation:
    """Polls for the cancel marker, in a thread that nobody waits for: a read that stalls delays nothing else.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
    """

    def __init__(self, store: ObjectStore, prefix: SessionPrefix) -> None:
        self._store = store
        self._key = prefix.cancel_key
        self._cancelled = False
        self._warned = False
        self._stopped = Event()
        self._poller = Thread(target=self._poll_until_stopped, name=f"pipes cancellation {prefix.uri}", daemon=True)

    @property
    def cancelled(self) -> bool:
        """Whether Dagster has cancelled the run."""
        return self._cancelled

    def start(self) -> None:
        """Start to poll."""
        self._poller.start()

    def stop(self) -> None:
        """Stop to poll, without waiting for a poll that is under way."""
        self._stopped.set()

    def check(self) -> None:
        """Raise if Dagster has cancelled the run.

        Raises:
            PipesCancelledError: It has.
        """
        if self._cancelled:
            raise PipesCancelledError("Dagster has terminated the run.")

    def _poll_until_stopped(self) -> None:
        while not self._cancelled and not self._stopped.wait(POLL_INTERVAL):
            self._poll()

    def _poll(self) -> None:
        try:
            marker = self._store.read(self._key, max_bytes=MAX_MARKER_BYTES, timeout=POLL_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - no error may end the polling: the next poll may find the marker
            if not self._warned:
                self._warned = True
                text = "[pipes] cannot tell whether Dagster has terminated the run, polling on: %s"
                log(logging.WARNING, text, error)
        else:
            self._cancelled = marker is not None


class CallDeadline:
    """When a run must end. It counts from the arrival of its request.

    Args:
        timeout: Seconds that the request may take, or None for any time.
        arrived: When the request arrived, as `time.monotonic()` tells it. Default: now.

    Attributes:
        flush_until: When the last messages must be stored, as `time.monotonic()` tells it.
    """

    def __init__(self, timeout: float | None = None, arrived: float | None = None) -> None:
        self._arrived = time.monotonic() if arrived is None else arrived
        ends_at = math.inf if timeout is None else self._arrived + timeout
        self._work_until = ends_at - min(FLUSH_RESERVE, (timeout or 0) / 10)
        self.flush_until = ends_at - min(RESPONSE_RESERVE, (timeout or 0) / 100)

    def check(self) -> None:
        """Raise if only the time that the last flush needs is left.

        Raises:
            PipesDeadlineExceededError: It is so.
        """
        now = time.monotonic()
        if now > self._work_until:
            raise PipesDeadlineExceededError(
                f"The function ran out of time after {now - self._arrived:.0f} s. Give it less work at once, or a "
                "longer timeout: deploy it with `--timeout`, and set `function_timeout` of the Dagster resource if "
                "that gives its URL."
            )
