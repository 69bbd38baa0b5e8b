"""Reads the messages of one session from the HTTP response to its call, in the thread that makes the call."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import requests
import urllib3.exceptions
from dagster import PipesMessageHandler
from dagster_pipes import PipesMessage, PipesParams
from gcf_pipes._shared.counting import counted
from gcf_pipes._shared.protocol import CHANNEL_PARAM, MAX_CHUNK_BYTES, MAX_STREAM_BYTES, RESPONSE_CHANNEL

from dagster_gcf_pipes._messages.log_entries import NewEntries
from dagster_gcf_pipes._messages.parser import ChunkFormatError
from dagster_gcf_pipes._messages.session_reader import SessionReader, TakeMessage

BURST: Final = 16 * 1024
"""Bytes that arrive together while the function is faster than Dagster. Their log lines share entries."""


class ResponseReader(SessionReader):
    """The message reader of a session whose messages are in the HTTP response.

    The response is newline-delimited JSON. An empty line is a heartbeat. The connection holds the function back while
    Dagster handles a message, so that nothing piles up here.

    Args:
        include_stdio_in_messages: Whether to ask the function to send what it prints.
        new_entries: Returns what hands log lines to Dagster.
        take_partitions: Takes materializations of single partitions, or None if the step has no use for them.
    """

    max_response_bytes = MAX_STREAM_BYTES
    is_over_with_response = True

    def __init__(
        self, *, include_stdio_in_messages: bool, new_entries: NewEntries, take_partitions: TakeMessage | None = None
    ) -> None:
        super().__init__(include_stdio_in_messages=include_stdio_in_messages, take_partitions=take_partitions)
        self._new_entries = new_entries
        self._response: requests.Response | None = None
        self._is_handling = self._is_burst = False
        self._stopped = self._ended = False
        self._alive_at = time.monotonic()

    @contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        """Let `read` hand the messages on while the block runs."""
        self._entries = self._new_entries(handler.handle_message)
        try:
            yield {CHANNEL_PARAM: RESPONSE_CHANNEL, **self._params}
        finally:
            self.end_writing(None, timeout=0)

    def read(self, response: requests.Response) -> str:
        """Hand the messages of a response to Dagster as they come; return why there will be no `closed`, or nothing."""
        self._response = response
        self._alive_at = time.monotonic()
        try:
            for lines in _complete_lines(response):
                if not self._take(lines):
                    break
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return self._why_broken(f"broke off ({type(error).__name__})")
        except Exception as error:  # noqa: BLE001 - the verdict fails the call with it
            self._update(failure=error)
        finally:
            with self._changed:
                self._ended = True
            self.wake()
        return self._why_broken("ended without `closed`")

    @property
    def ended(self) -> bool:
        """Whether no further message will be handled."""
        return self._ended or (self._stopped and not self._is_handling)

    def end_writing(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:  # noqa: ARG002
        """Read no more: the response has ended, or nobody waits for it."""
        with self._changed:
            self._stopped = True
        if self._response is not None and not self._ended:
            _shut_down(self._response)

    @property
    def silent_for(self) -> float:
        """Seconds without a line. The time in which Dagster handles one does not count."""
        return 0.0 if self._is_handling else time.monotonic() - self._alive_at

    def no_messages_debug_text(self) -> str:
        """Tell where the reader expected messages, and from what."""
        return (
            "Attempted to read messages from the HTTP response. Expected the function's entry point to be decorated "
            "with `gcf_pipes.pipes_function`."
        )

    @property
    def _interrupted(self) -> bool:
        return self._stopped

    def _take(self, lines: bytes) -> bool:
        """Hand the messages of complete lines on; return whether somebody waits for more."""
        with self._changed:
            self._is_handling = not self._stopped
        try:
            if self._is_handling:
                self._is_burst = len(lines) >= BURST
                self._handle_lines(lines, "the HTTP response")
                self._entries.flush()
        finally:
            with self._changed:
                self._is_handling, self._alive_at = False, time.monotonic()
            self.wake()
        return not self._stopped

    def _hand_on(self, message: PipesMessage, where: str) -> None:
        self._entries.add(message, where, more_wait=self._is_burst)

    def _hand_on_kept_lines(self) -> None:
        self._entries.flush()

    def _why_broken(self, how: str) -> str:
        if self._record.closed or self._record.failure:
            return ""
        return f"it {how} after {counted(self._record.message_count, 'message')}"


def _complete_lines(response: requests.Response) -> Iterator[bytes]:
    """Yield what has arrived, in complete lines without empty ones; nothing but a heartbeat yields no bytes."""
    rest = b""
    for piece in response.iter_content(None if getattr(response.raw, "chunked", False) else 1):
        complete, _, rest = (rest + piece).rpartition(b"\n")
        if len(rest) > MAX_CHUNK_BYTES:
            raise ChunkFormatError(f"Expected lines of at most {MAX_CHUNK_BYTES:,} bytes in the HTTP response.")
        yield b"".join(line + b"\n" for line in complete.split(b"\n") if line)


def _shut_down(response: requests.Response) -> None:
    """Wake the thread that reads a response. Before urllib3 2.3, only the timeout does."""
    if shutdown := getattr(response.raw, "shutdown", None):
        try:
            shutdown()
        except (ValueError, OSError):  # it has just ended
            return
