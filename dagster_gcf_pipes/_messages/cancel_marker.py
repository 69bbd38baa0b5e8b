"""What Dagster does when it no longer waits for a function: with a bucket, it writes two objects.

Closing the connection would not reach the function: the platform does not pass a disconnect on. The cancel marker ends
a function that runs. A first chunk of ours, the claim, keeps a function from starting.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from gcf_pipes import PipesObjectExistsError, PipesObjectTooLargeError, PipesStorageError
from gcf_pipes._shared.protocol import HEARTBEAT, SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._keyed_log import Log
from dagster_gcf_pipes._messages.inspection import SessionFacts
from dagster_gcf_pipes._messages.record import SessionRecord

REQUEST_TIMEOUT: Final = 5.0
"""Seconds that each request to the bucket may take, with its retries."""


class Claim(Enum):
    """Who has claimed a session: who created its first chunk."""

    OURS = auto()
    """Dagster: nothing runs, and nothing will."""
    FUNCTION = auto()
    """The function: it has started."""
    UNKNOWN = auto()
    """Unknown: Cloud Storage did not answer."""


class CancelMarker:
    """The cancel marker of one session, and the claim that closes the session to late deliveries.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        log: Gets a line that says why the function should stop.
    """

    def __init__(self, store: ObjectStore, prefix: SessionPrefix, log: Log) -> None:
        self._store = store
        self._prefix = prefix
        self._log = log

    @contextmanager
    def write_if_interrupted(self, stop: Callable[[str], None], find_adopter: Callable[[], str]) -> Iterator[None]:
        """Stop the function if Dagster interrupts the block, or if it fails with an error that is not ours.

        An interrupt is a BaseException, not an Exception. If something will start the step again, the function goes on.

        Args:
            stop: Stops what runs, for a reason.
            find_adopter: Returns what will start the step again, or an empty text.
        """
        try:
            yield
        except PipesCloudFunctionError:
            raise  # the call was refused before it was sent
        except BaseException as error:
            reason = "the call failed unexpectedly" if isinstance(error, Exception) else "the run is terminated"
            self.unless_adopted(stop, reason, find_adopter)
            raise

    def unless_adopted(self, stop: Callable[[str], None], reason: str, find_adopter: Callable[[], str]) -> None:
        """Stop what runs, unless something will start the step again."""
        try:
            adopter = find_adopter()
        except Exception as error:  # noqa: BLE001 - each storage of Dagster's has errors of its own
            adopter, reason = "", f"{reason}, or the status of the run cannot be read ({error})"
        if adopter:
            self._log.warning(f"[pipes] the step ends before its function, which goes on: {adopter} adopts it")
        else:
            stop(reason)

    def stop(self, session: SessionRecord | SessionFacts, reason: str) -> None:
        """Stop the function. If it has not opened its session, claim the session: it must not start any more.

        A function that starts now would not see the marker for some seconds.
        """
        if not session.opened:
            self.claim_session()
        if not session.closed:
            self.write(reason)

    def write(self, reason: str) -> None:
        """Write the marker."""
        try:
            self._log.warning(f"[pipes] {reason}: telling the function to stop, if it runs, through {self._prefix.uri}")
        finally:  # also if Dagster's storage does not answer
            self.create()

    def claim_session(self) -> Claim:
        """Claim the session in place of the function, so that a late delivery runs nothing."""
        key = self._prefix.chunk_key(1)
        try:
            if self._exists(key):
                return Claim.FUNCTION
            self._store.create(key, HEARTBEAT, timeout=REQUEST_TIMEOUT)
        except PipesObjectExistsError:
            return Claim.FUNCTION
        except PipesStorageError as error:
            self._log.warning(f"[pipes] could not close the session to late deliveries: {error}")
            return Claim.UNKNOWN
        return Claim.OURS

    def create(self) -> None:
        """Create the marker, without a line in the log unless that fails."""
        try:
            self._store.create(self._prefix.cancel_key, b"{}", timeout=REQUEST_TIMEOUT)
        except PipesStorageError as error:
            self._log.warning(f"[pipes] could not tell the function to stop; it may run until its timeout: {error}")

    def _exists(self, key: str) -> bool:
        """Whether the object surely exists. This is for an emulator that ignores preconditions and would replace it."""
        try:
            return self._store.read(key, max_bytes=len(HEARTBEAT), timeout=REQUEST_TIMEOUT) is not None
        except PipesObjectTooLargeError:
            return True
        except PipesStorageError:
            return False


class NoCancelMarker(CancelMarker):
    """What stands in for the marker of a session without a bucket: nothing reaches its function.

    Args:
        log: Gets a line that says that the function goes on.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    def stop(self, session: SessionRecord | SessionFacts, reason: str) -> None:
        """Say that the function may go on."""
        if not session.closed:
            self._log.warning(
                f"[pipes] {reason}: the function goes on, if it runs, until its end or its timeout. Only messages in a "
                "bucket let Dagster stop it."
            )

    def claim_session(self) -> Claim:
        """Nobody can: a late delivery may start the function."""
        return Claim.UNKNOWN
