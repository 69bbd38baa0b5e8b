"""What the channels of all sessions have in common, wherever their messages go."""

import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import Sequence

from dagster_pipes import (
    DagsterPipesError,
    DagsterPipesWarning,
    PipesBlobStoreMessageWriter,
    PipesMessageWriterChannel,
    PipesParams,
)

from gcf_pipes._encoding import encode_message, make_message
from gcf_pipes._shared.own_logs import log


class SessionChannel(PipesMessageWriterChannel):
    """The channel of one session. It belongs to the process that created it: a forked child cannot write messages.

    Args:
        heartbeat_interval: Seconds without a message after which the channel shows that the function is alive.
        takes_partitions: Whether the message reader takes materializations of single partitions.

    Attributes:
        heartbeat_interval: As above.
        reported_partitions: What the function has reported partition by partition: the partitions of each asset. None
            if the message reader takes no such reports.
    """

    def __init__(self, *, heartbeat_interval: float, takes_partitions: bool) -> None:
        self.heartbeat_interval = heartbeat_interval
        self.reported_partitions: dict[str, set[str]] | None = {} if takes_partitions else None
        self._process_id = os.getpid()

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Whether Dagster has terminated the run."""

    @property
    @abstractmethod
    def chunk_count(self) -> int | None:
        """How many chunks were written, including heartbeats. None if the messages are not in chunks."""

    @property
    @abstractmethod
    def response_room(self) -> int | None:
        """The bytes of JSON that the function's response may have in `closed`, which alone takes it to Dagster.

        None if the HTTP response takes it there.
        """

    @abstractmethod
    def close(self) -> None:
        """Write what was not written yet. The channel takes no more messages."""

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that created the channel."""
        return os.getpid() != self._process_id

    def _refuse_in_child(self, method: str) -> None:
        if method != "closed":  # the child closes its copy of the context; the parent's session stays open
            raise DagsterPipesError(
                f"Cannot send the Pipes message `{method}` from a forked child process. Only the process that opened "
                "the Pipes session can send messages.\nFix: Return the result to that process, and send it there."
            )


def last_lines(closed: bytes, dropped: int) -> Sequence[bytes]:
    """Return the last messages of a session.

    Args:
        closed: The last one.
        dropped: How many pieces of the function's output were dropped before.
    """
    if not dropped:
        return [closed]
    text = (
        f"[pipes] {dropped:,} pieces of the function's output were dropped here: it printed faster than the output "
        "could be stored. The function's log has all of it."
    )
    log(logging.WARNING, text)
    return [encode_message(make_message("log", {"message": text, "level": "WARNING"})), closed]


def warn_of_output(params: PipesParams) -> None:
    """Warn if Dagster asks for the output of a function that opens its session itself, where none is forwarded."""
    if params.get(PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY):
        warnings.warn(
            "`include_stdio_in_messages` needs `gcf_pipes.pipes_function`, which knows each request's output.\n"
            "Fix: Without it, use `pipes.log`.",
            DagsterPipesWarning,
            stacklevel=4,
        )
