"""Prints the messages of a session as log entries, for functions without a bucket. Dagster reads them in Cloud Logging.

Cloud Run makes an entry of each line of JSON on stdout. So each message is one line, or several if it is long. Lines go
to the file descriptor and not to `sys.stdout`: its owner may have replaced it, and forwarded output would come back.

Sources: https://cloud.google.com/run/docs/logging#container-logs and
https://cloud.google.com/logging/docs/structured-logging.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any, Final

from dagster_pipes import DagsterPipesError, PipesExtras, PipesMessage, PipesMessageWriter, PipesParams

from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._channel import SessionChannel, warn_of_output
from gcf_pipes._encoding import encode_message
from gcf_pipes._shared.errors import PipesMessagesNotStoredError, PipesRequestError
from gcf_pipes._shared.halves import Half
from gcf_pipes._shared.json_validation import excerpt
from gcf_pipes._shared.log_levels import standard_level_of
from gcf_pipes._shared.protocol import (
    ENTRY_FIELD,
    HEARTBEAT,
    LOGGING_HEARTBEAT_INTERVAL,
    PARTITIONS_PARAM,
    SESSION_PARAM,
    OpenedExtras,
)
from gcf_pipes._structured_logs import request_log_fields

STDOUT: Final = 1
MAX_LINE_BYTES: Final = 4096
"""Bytes of a line. The system writes so many to a pipe at once: no other thread or process gets in between.

An entry may have 256 KiB. Sources: https://man7.org/linux/man-pages/man7/pipe.7.html (`PIPE_BUF`) and
https://cloud.google.com/logging/quotas.
"""
MAX_TEXT: Final = 200
"""Characters of a message that the Logs Explorer shows."""
_ESCAPED: Final = 2
"""Bytes that a character of a message takes at most. All are ASCII, and the only control character is the newline."""
_SESSION: Final = re.compile(r"[0-9a-f]{32}")


class LoggingChannel(SessionChannel):
    """The channel of a session whose messages go through Cloud Logging. `closed` seals it.

    Each entry has a number. A message is printed before `write_message` returns. After `heartbeat_interval` seconds
    without an entry, a thread of the channel prints a heartbeat.

    Nothing claims the session: if two deliveries of the call reached the function, both would run. Each entry names
    its delivery, so Dagster finds out. Nothing tells the function that Dagster has terminated the run.

    Args:
        session: The session's id, 32 hexadecimal digits.
        deadline: When the call must end.
        heartbeat_interval: Seconds without an entry after which a heartbeat is printed.
        takes_partitions: Whether the message reader takes materializations of single partitions.
    """

    def __init__(
        self,
        session: str,
        deadline: CallDeadline,
        *,
        heartbeat_interval: float = LOGGING_HEARTBEAT_INTERVAL,
        takes_partitions: bool = False,
    ) -> None:
        super().__init__(heartbeat_interval=heartbeat_interval, takes_partitions=takes_partitions)
        self._session = session
        self._delivery = uuid.uuid4().hex[:8]
        self._deadline = deadline
        self._fields = request_log_fields()
        self._count = 0
        self._printed_at = time.monotonic()
        self._lock = Lock()
        self._sealed = False
        self._closed = Event()
        self._heart = Thread(target=self._print_heartbeats, name=f"pipes {session}", daemon=True)

    @property
    def cancelled(self) -> bool:
        """Always no: Dagster has no way to tell."""
        return False

    @property
    def chunk_count(self) -> int:
        """The number of printed entries, including heartbeats."""
        return self._count

    @property
    def response_room(self) -> None:
        """None: the HTTP response takes the function's response to Dagster."""

    def write_message(self, message: PipesMessage) -> None:
        """Print a message.

        Raises:
            PipesDeadlineExceededError: The call's deadline has passed.
            PipesMessagesNotStoredError: stdout is closed.
            DagsterPipesError: The message is not JSON serializable, too large, or nested too deep. Or the channel is
                closed, or this is a forked child.
        """
        method = message["method"]
        if self.is_inherited:
            self._refuse_in_child(method)
            return
        line = encode_message(message)
        if method not in {"opened", "closed", "log_external_stream"}:
            self._deadline.check()
        with self._lock:
            if self._sealed:
                raise DagsterPipesError("Cannot send message after pipes context is closed.")
            self._sealed = method == "closed"
            self._print(line, severity=_severity(message), text=_text(message))
        if method == "opened":
            self._heart.start()

    def close(self) -> None:
        """Print no more heartbeats. The channel takes no more messages."""
        if not self.is_inherited:
            with self._lock:
                self._sealed = True
            self._closed.set()

    def _print_heartbeats(self) -> None:
        with suppress(PipesMessagesNotStoredError):  # the next message raises it in the function's own thread
            while not self._closed.wait(self._printed_at + self.heartbeat_interval - time.monotonic()):
                with self._lock:
                    if not self._sealed and time.monotonic() >= self._printed_at + self.heartbeat_interval:
                        self._print(HEARTBEAT, severity="DEBUG", text="The function is alive.")

    def _print(self, line: bytes, *, severity: str, text: str) -> None:
        """Print a line of a session as entries. An entry starts with a newline: stdout may be amid a line."""
        rest = line.decode("ascii")
        while rest:
            entry = self._entry(self._count + 1, severity, text)
            room = (MAX_LINE_BYTES - len(_dump(entry)) - 2) // _ESCAPED
            entry[ENTRY_FIELD]["data"], rest = rest[:room], rest[room:]
            self._write(b"\n" + _dump(entry) + b"\n")
            self._count += 1
        self._printed_at = time.monotonic()

    def _entry(self, number: int, severity: str, text: str) -> dict[str, Any]:
        fields = {"session": self._session, "delivery": self._delivery, "n": number, "data": ""}
        return {"severity": severity, "message": text, ENTRY_FIELD: fields, **self._fields}

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(STDOUT, line) :]
        except OSError as error:
            raise PipesMessagesNotStoredError(
                f"A Pipes message could not be printed after entry {self._count} of session {self._session}: {error}.\n"
                "Fix: Do not close file descriptor 1. Cloud Run reads the log entries there."
            ) from error


class PipesCloudLoggingMessageWriter(PipesMessageWriter[LoggingChannel]):
    """Message writer that prints messages as log entries, for `dagster_gcf_pipes.PipesCloudLoggingMessageReader`.

    `pipes_function` uses it if Dagster asks for it. Make one yourself for `open_dagster_pipes`. It needs no bucket and
    no permission. It has no claim, so a second delivery of a request runs the code a second time.

    Args:
        heartbeat_interval: Seconds without an entry after which a heartbeat shows Dagster that the function is alive.
            Default 20.
    """

    def __init__(self, *, heartbeat_interval: float = LOGGING_HEARTBEAT_INTERVAL) -> None:
        self._heartbeat_interval = heartbeat_interval

    @contextmanager
    def open(self, params: PipesParams) -> Iterator[LoggingChannel]:
        """Open a session's channel.

        Args:
            params: The message reader's params.

        Raises:
            PipesRequestError: The params name no session.
        """
        warn_of_output(params)
        channel = self.open_channel(params, CallDeadline())
        try:
            yield channel
        finally:
            channel.close()

    def open_channel(self, params: PipesParams, deadline: CallDeadline) -> LoggingChannel:
        """Return a session's channel. The caller must close it.

        Args:
            params: The message reader's params.
            deadline: When the call must end.

        Raises:
            PipesRequestError: As in `open`.
        """
        return LoggingChannel(
            session_id(params),
            deadline,
            heartbeat_interval=self._heartbeat_interval,
            takes_partitions=bool(params.get(PARTITIONS_PARAM)),
        )

    def get_opened_extras(self) -> PipesExtras:
        """Return facts for `opened`."""
        delivery = OpenedExtras(delivery_id=uuid.uuid4().hex, heartbeat_interval=self._heartbeat_interval)
        return {**delivery, **Half.ours().opened_extras}


def session_id(params: PipesParams) -> str:
    """Return the id of the session that the messages params name.

    Raises:
        PipesRequestError: They name none.
    """
    session = params.get(SESSION_PARAM)
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise PipesRequestError(
            f"Expected {SESSION_PARAM!r} in the messages params to be 32 hexadecimal digits, got {excerpt(session)}."
        )
    return session


def _dump(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")


def _severity(message: PipesMessage) -> str:
    """Return the severity of an entry. The names of the standard levels are severities too."""
    params = message["params"] or {}
    if message["method"] == "log":
        return standard_level_of(params["level"])
    if message["method"] == "closed" and "exception" in params:
        return "ERROR"
    return "INFO"


def _text(message: PipesMessage) -> str:
    """Return what people read in the Logs Explorer."""
    params = message["params"] or {}
    text = {"log": params.get("message"), "log_external_stream": params.get("text")}.get(message["method"])
    return f"{text}"[:MAX_TEXT] if text else f"[pipes] {message['method']}"
