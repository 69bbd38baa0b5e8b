"""The public message reader. Many sessions can share it, one after another and at the same time."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dagster import PipesMessageHandler, PipesMessageReader
from dagster_pipes import PipesParams
from gcf_pipes._shared.protocol import DEFAULT_KEY_PREFIX, SessionPrefix
from gcf_pipes._shared.storage import ObjectStore, client_getter

from dagster_gcf_pipes._messages.log_entries import DEFAULT_EVENT_LOG_LEVEL, DEFAULT_LINES_PER_ENTRY
from dagster_gcf_pipes._messages.read_to_end import read_to_end
from dagster_gcf_pipes._messages.session import ReaderSession

if TYPE_CHECKING:
    from google.cloud import storage

DEFAULT_POLL_INTERVAL: Final = 1.5
DEFAULT_DRAIN_TIMEOUT: Final = 10


class PipesCloudStorageMessageReader(PipesMessageReader):
    """Message reader that polls a Cloud Storage bucket for numbered chunks of messages.

    It reads messages from `gcf_pipes.PipesCloudStorageMessageWriter` and from the stock
    `dagster_pipes.PipesGCSMessageWriter`. `PipesCloudFunctionClient` makes its own reader; make one yourself for
    `dagster.open_pipes_session`. It keeps no state of a session, so one object can serve many. It deletes nothing: give
    the bucket a lifecycle rule for the key prefix.

    The identity in use needs `storage.objects.get` and `storage.objects.list` on the prefix
    (`roles/storage.objectViewer`). Without the latter, Cloud Storage may answer 403 instead of 404 for a chunk that is
    not there yet.

    Args:
        bucket: The name of the bucket.
        key_prefix: The base prefix of all sessions. Each session has its own prefix below it. Default `dagster-pipes`.
        client: The Cloud Storage client to use. Default: one with the environment's own credentials, created when the
            first session opens.
        poll_interval: The longest pause between two polls, in seconds. Polls are closer together soon after a message,
            from 0.05 s. Default 1.5.
        drain_timeout: Seconds to poll for further messages after the external process has ended without `closed`. The
            reader then reads the chunks in the bucket, and no more. Default 10.
        include_stdio_in_messages: Whether to ask the external process to send what it prints. The reader prints it
            again here. Default no.
        log_lines_per_entry: How many lines of `pipes.log` become one entry of the event log at most, while the reader
            is behind the external process. With 1, each line is an entry by itself. Default 200.
        event_log_level: The lowest level of the lines of `pipes.log` that get into the event log. The reader prints the
            others here. Default "debug", which is all.
    """

    def __init__(
        self,
        *,
        bucket: str,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        client: "storage.Client | None" = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        include_stdio_in_messages: bool = False,
        log_lines_per_entry: int = DEFAULT_LINES_PER_ENTRY,
        event_log_level: str = DEFAULT_EVENT_LOG_LEVEL,
    ) -> None:
        self._bucket = bucket
        self._key_prefix = key_prefix
        self._get_client = client_getter(client)
        self._poll_interval = poll_interval
        self._drain_timeout = drain_timeout
        self._include_stdio_in_messages = include_stdio_in_messages
        self._log_lines_per_entry = log_lines_per_entry
        self._event_log_level = event_log_level

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read the messages of a new session while the block runs, and the rest of them when the block ends.

        Raises:
            PipesCloudFunctionMessagesError: On exit: messages could not be read or handled.
        """
        session = ReaderSession(
            ObjectStore(self._bucket, self._get_client()),
            SessionPrefix(self._bucket, f"{self._key_prefix}/{uuid.uuid4().hex}"),
            poll_interval=self._poll_interval,
            include_stdio_in_messages=self._include_stdio_in_messages,
            log_lines_per_entry=self._log_lines_per_entry,
            event_log_level=self._event_log_level,
        )
        with read_to_end(session, handler, drain_timeout=self._drain_timeout) as params:
            yield params

    @property
    def expected_writer_count(self) -> int:
        """Always 1. Overridden because Dagster's default emits a preview warning."""
        return 1

    def no_messages_debug_text(self) -> str:
        """Tell where the reader expected messages, and from what."""
        return (
            f"Attempted to read messages from gs://{self._bucket}/{self._key_prefix}/. Expected "
            "`gcf_pipes.PipesCloudStorageMessageWriter` or `dagster_pipes.PipesGCSMessageWriter` to be passed to "
            "`open_dagster_pipes` in the external process."
        )
