"""The message reader of one session, wherever its messages come from: it checks them, and hands them to Dagster."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Condition, Lock
from typing import Any, Final, TypeAlias

from dagster import PipesMessageReader
from dagster_pipes import PipesBlobStoreMessageWriter, PipesMessage, PipesParams
from gcf_pipes._shared.halves import Half, protocol_problem
from gcf_pipes._shared.protocol import (
    MAX_CLOSED_RESPONSE_BYTES,
    PARTITION_KEY,
    PARTITIONS_PARAM,
    RESPONSE_PARAM,
    USAGE_PARAM,
)

from dagster_gcf_pipes._messages.log_entries import handling_error
from dagster_gcf_pipes._messages.parser import (
    ChunkFormatError,
    parse_chunk,
    partition_report,
    read_opened_extras,
    read_response,
    read_usage,
)
from dagster_gcf_pipes._messages.record import SessionRecord

MAX_SILENT_HEARTBEATS: Final = 3
"""Heartbeats that may be missing before the reader gives the function up."""
LATE_HEARTBEAT: Final = 1.5
"""Heartbeat intervals without a sign of life before the caller asks the platform's log."""

_OUTPUT_FIX: Final = (
    "\nFix: Decorate the function's entry point with `gcf_pipes.pipes_function`, or set `forward_logs` of the resource "
    "to false. Dagster's own writer sends output after `closed`."
)


class AnotherProtocolError(RuntimeError):
    """The function has another version of the wire protocol."""


class PartitionReportError(RuntimeError):
    """The function has reported a partition that its step cannot materialize."""


TakeMessage: TypeAlias = Callable[[PipesMessage, "SessionReader"], bool]
"""Gets each message before Dagster's handler, and returns whether that is not to get it."""


class SessionReader(PipesMessageReader):
    """The message reader of one session. A subclass fetches the messages.

    Args:
        include_stdio_in_messages: Whether to ask the external process to send what it prints.
        take_partitions: Takes materializations of single partitions, or None if the step has no use for them.

    Attributes:
        max_response_bytes: The largest response of the function in `closed`, in bytes.
        is_over_with_response: Whether the messages are in the HTTP response. Then the call is over without it.
        opening_delay: Seconds that `opened` may take to arrive after the function has written it.
    """

    max_response_bytes = MAX_CLOSED_RESPONSE_BYTES
    is_over_with_response = False
    opening_delay = 0.0

    def __init__(self, *, include_stdio_in_messages: bool, take_partitions: TakeMessage | None = None) -> None:
        self._include_stdio_in_messages = include_stdio_in_messages
        self._take_partitions = take_partitions
        self._record = SessionRecord()
        self._record_lock = Lock()
        self._changed = Condition()

    @property
    def record(self) -> SessionRecord:
        """What was seen of the session so far."""
        return self._record

    @property
    def deletable_keys(self) -> Sequence[str]:
        """The names of the objects in the bucket that nobody needs when the call has succeeded."""
        return ()

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether no further message will be handled: all were, or reading has failed."""

    @abstractmethod
    def end_writing(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Announce that nobody will write another message, or that nobody waits for it. The reader then ends.

        Args:
            chunk_count: How many chunks there are, or None if that is not known.
            timeout: If the count is not known: seconds to poll for further chunks. Those in the bucket then are read.
            deadline: Until when to retry while Cloud Storage is unavailable (`time.monotonic`); at least a minute.
        """

    @property
    @abstractmethod
    def silent_for(self) -> float:
        """Seconds without a sign of life, as far as the reader can know."""

    def wait_until(self, reached: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until a condition holds, for at most `timeout` seconds; return whether it does.

        Re-evaluated after each message and after `wake`.
        """
        with self._changed:
            return self._changed.wait_for(reached, timeout)

    def wake(self) -> None:
        """Let whoever waits for the session look at it again."""
        with self._changed:
            self._changed.notify_all()

    @property
    def _params(self) -> PipesParams:
        """What the external process needs to know, wherever it writes the messages."""
        return {
            PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: self._include_stdio_in_messages,
            **({PARTITIONS_PARAM: True} if self._take_partitions else {}),
        }

    @property
    def misses_heartbeats(self) -> bool:
        """Whether a function that writes heartbeats should have written one by now."""
        interval = self._record.opened_extras.get("heartbeat_interval")
        return interval is not None and self.silent_for > LATE_HEARTBEAT * interval

    def give_up_if_silent(self) -> bool:
        """Whether a function that writes heartbeats showed no sign of life for too long; the record then says so."""
        interval = self._record.opened_extras.get("heartbeat_interval")
        silent_for = self.silent_for
        if interval is not None and silent_for > MAX_SILENT_HEARTBEATS * interval:
            self._update(silent_for=silent_for)
        return self._record.silent_for > 0

    @property
    def expected_writer_count(self) -> int:
        """Always 1. Overridden because Dagster's default emits a preview warning."""
        return 1

    def _handle_lines(self, lines: bytes, where: str) -> bool:
        """Hand the messages of complete lines to Dagster; return whether nothing has interrupted that.

        Args:
            lines: Newline-delimited JSON.
            where: What has the lines, for error texts.

        Raises:
            ChunkFormatError: A line is not a message, or does not belong there.
            AnotherProtocolError: The function has another version of the wire protocol.
            MessageHandlingError: Dagster could not handle a message.
            PartitionReportError: The step cannot materialize a partition that the function has reported.
        """
        for number, message in enumerate(parse_chunk(lines, where), start=1):
            if self._interrupted:
                return False
            self._handle(message, f"line {number} of {where}")
        return True

    @abstractmethod
    def _hand_on_kept_lines(self) -> None:
        """Hand the lines to Dagster that may share an entry with the next one, before the session counts as closed.

        Raises:
            MessageHandlingError: Dagster could not handle them.
        """

    @abstractmethod
    def _hand_on(self, message: PipesMessage, where: str) -> None:
        """Hand a message to Dagster.

        Raises:
            MessageHandlingError: Dagster could not handle it.
        """

    @property
    @abstractmethod
    def _interrupted(self) -> bool:
        """Whether nobody waits for the session any more."""

    def _handle(self, message: PipesMessage, where: str) -> None:
        method, params = message["method"], message["params"] or {}
        self._refuse_another_session(method, where)
        seen: dict[str, Any] = {"message_count": self._record.message_count + 1}
        if method == "opened":
            seen |= {"opened": True, "opened_extras": read_opened_extras(params.get("extras"))}
        elif method == "log_external_stream":
            seen["has_output"] = True
        self._update(**seen)
        if method == "opened":
            self._refuse_another_protocol()
        if method == "closed":
            self._hand_on_kept_lines()
            usage = read_usage(params.get(USAGE_PARAM))
            response = read_response(params.get(RESPONSE_PARAM), max_bytes=self.max_response_bytes)
            self._update(closed=True, exception=params.get("exception"), usage=usage, response=response)
        if not self._takes(message, where):
            self._hand_on(message, where)

    def _takes(self, message: PipesMessage, where: str) -> bool:
        """Whether a message is not for Dagster's handler."""
        if self._take_partitions:
            try:
                return self._take_partitions(message, self)
            except PartitionReportError:
                raise
            except BaseException as error:
                raise handling_error(message, where, error) from error
        if partition_report(message):
            raise PartitionReportError(
                f"Expected no custom message with the reserved key {PARTITION_KEY!r}: the messages params do not ask "
                "for it.\nFix: Report the asset, or call the function with `PipesCloudFunctionClient.run`."
            )
        return False

    def _update(self, **seen: Any) -> None:
        with self._record_lock:
            self._record = replace(self._record, **seen)
        self.wake()

    def _refuse_another_session(self, method: str, where: str) -> None:
        """Refuse what no writer of this session writes: its first message is `opened`, its last is `closed`."""
        fix = ""
        if self._record.closed:
            expected = "no message after `closed`"
            fix = _OUTPUT_FIX if method == "log_external_stream" else ""
        elif self._record.opened and method == "opened":
            expected = "one `opened`: another session writes to the same prefix"
        elif not self._record.opened and method != "opened":
            expected = "`opened` before any other message"
        else:
            return
        raise ChunkFormatError(f"Expected {expected}, got `{method}` in {where}.{fix}")

    def _refuse_another_protocol(self) -> None:
        function = self._record.function
        if problem := function and protocol_problem(function=function, dagster=Half.ours()):
            raise AnotherProtocolError(problem)
