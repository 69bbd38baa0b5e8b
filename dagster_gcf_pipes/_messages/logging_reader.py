"""The message reader for `dagster.open_pipes_session`, for functions that print their messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from dagster import PipesMessageHandler, PipesMessageReader
from dagster_pipes import PipesParams
from gcf_pipes._shared.once import Once

from dagster_gcf_pipes._messages.entry_api import EntryApi
from dagster_gcf_pipes._messages.entry_reader import EntryReader
from dagster_gcf_pipes._messages.entry_session import EntrySession
from dagster_gcf_pipes._messages.log_entries import DEFAULT_EVENT_LOG_LEVEL, DEFAULT_LINES_PER_ENTRY, LogEntries
from dagster_gcf_pipes._messages.read_to_end import read_to_end

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

DEFAULT_DRAIN_TIMEOUT: Final = 30.0


class PipesCloudLoggingMessageReader(PipesMessageReader):
    """Message reader that reads the log entries in which a function prints its messages.

    It reads messages from `gcf_pipes.pipes_function` and `gcf_pipes.PipesCloudLoggingMessageWriter`, and needs no
    bucket. `PipesCloudFunctionClient` makes its own reader; make one yourself for `dagster.open_pipes_session`. One
    object can serve many sessions, which share its threads and requests.

    The extra `dagster-gcf-pipes[logging]` lets it follow the log live. Without it, or where live tailing is not
    allowed, it lists new entries every 2 seconds. All readers of a process share the reads of a project: at most 30 a
    minute, of the 60 that Cloud Logging allows.

    The identity in use needs `logging.logEntries.list` (`roles/logging.viewer`, or `roles/logging.viewAccessor` on a
    view).

    Args:
        project: The ID of the function's project.
        credentials: The credentials to use. Default: the environment's own.
        log_view: The full name of the log view to read. Default: every entry of the project that the identity may read.
        drain_timeout: Seconds to wait for further messages after the external process has ended without `closed`.
            Default 30.
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
        project: str,
        credentials: "Credentials | None" = None,
        log_view: str | None = None,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        include_stdio_in_messages: bool = False,
        log_lines_per_entry: int = DEFAULT_LINES_PER_ENTRY,
        event_log_level: str = DEFAULT_EVENT_LOG_LEVEL,
    ) -> None:
        self._project = project
        self._credentials = credentials
        self._log_view = log_view
        self._drain_timeout = drain_timeout
        self._include_stdio_in_messages = include_stdio_in_messages
        self._log_lines_per_entry = log_lines_per_entry
        self._event_log_level = event_log_level
        self._reader = Once[EntryReader]()

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Read the messages of a new session while the block runs, and the rest of them when the block ends.

        Raises:
            PipesCloudFunctionMessagesError: On exit: messages are missing, or could not be read or handled.
        """
        session = EntrySession(
            self._reader.get(self._create_reader),
            include_stdio_in_messages=self._include_stdio_in_messages,
            new_entries=partial(
                LogEntries, lines_per_entry=self._log_lines_per_entry, event_log_level=self._event_log_level
            ),
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
            f"Attempted to read messages from the log of the project {self._project}. Expected "
            "`gcf_pipes.PipesCloudLoggingMessageWriter` to be passed to `open_dagster_pipes` in the external process."
        )

    def _create_reader(self) -> EntryReader:
        return EntryReader(EntryApi(self._project, lambda: self._credentials, view=self._log_view))
