"""Sends the messages of a session in the HTTP response, for functions without a bucket.

The response is newline-delimited JSON. The function's code runs in a thread of its own, while the server sends what it
reports. So the function's own response cannot be the HTTP response: `closed` has it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Final

from dagster_pipes import DagsterPipesError, PipesMessage

from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._channel import SessionChannel, last_lines
from gcf_pipes._chunk_buffer import ChunkBuffer, SealedError
from gcf_pipes._encoding import encode_message
from gcf_pipes._shared.errors import PipesCancelledError
from gcf_pipes._shared.protocol import (
    HEARTBEAT,
    MAX_STREAM_BYTES,
    MAX_STREAMED_MESSAGES_BYTES,
    NDJSON,
    RESPONSE_HEARTBEAT_INTERVAL,
)

if TYPE_CHECKING:
    import flask

MAX_BUFFER_BYTES: Final = 1024 * 1024
"""Size of the messages that may wait for the server, in bytes."""
RESERVED_BYTES: Final = 64 * 1024
"""Bytes of the response for the heartbeats of an hour, and for what `closed` has beside the function's response."""


class ResponseChannel(SessionChannel):
    """The channel of a session whose messages go through the HTTP response. `closed` seals it.

    Nothing claims the session: if two deliveries of the call reached the function, both would run.

    Args:
        deadline: When the call must end.
        takes_partitions: Whether the message reader takes materializations of single partitions.
    """

    def __init__(self, deadline: CallDeadline, *, takes_partitions: bool) -> None:
        super().__init__(heartbeat_interval=RESPONSE_HEARTBEAT_INTERVAL, takes_partitions=takes_partitions)
        self._deadline = deadline
        self._buffer = ChunkBuffer(
            flush_interval=0, max_chunk_bytes=MAX_BUFFER_BYTES, max_buffer_bytes=MAX_BUFFER_BYTES
        )
        self._disconnected = False

    @property
    def cancelled(self) -> bool:
        """Whether nobody reads the response any more. The platform does not tell a function that."""
        return self._disconnected

    @property
    def chunk_count(self) -> None:
        """None: the messages are not in chunks."""

    @property
    def response_room(self) -> int:
        """The bytes of JSON that the function's response may have in `closed`."""
        return MAX_STREAM_BYTES - RESERVED_BYTES - self._buffer.all_bytes

    def write_message(self, message: PipesMessage) -> None:
        """Write a message. Wait if the buffer is full.

        `log_external_stream` neither waits nor fails: output that does not fit is dropped and counted.

        Raises:
            PipesCancelledError: Nobody reads the response any more.
            PipesDeadlineExceededError: The call's deadline has passed.
            DagsterPipesError: The message is not JSON serializable, too large, or nested too deep. Or the messages
                together are too large, or the channel is closed, or this is a forked child.
        """
        method = message["method"]
        if self.is_inherited:
            self._refuse_in_child(method)
            return
        try:
            self._write(encode_message(message), method)
        except SealedError as error:
            raise DagsterPipesError("Cannot send message after pipes context is closed.") from error

    def close(self) -> None:
        """Let the response end after the messages so far."""
        if not self.is_inherited:
            self._buffer.end_writing()

    def lines(self) -> Iterator[bytes]:
        """Yield the response, piece by piece, until the channel is closed. The server iterates in its own thread."""
        try:
            while (chunk := self._buffer.take(self.heartbeat_interval)) or not self._buffer.drained:
                yield chunk.data if chunk else HEARTBEAT
        except GeneratorExit:
            self._disconnected = True
            raise
        finally:
            self._buffer.fail()  # whoever waits for room, and whoever writes later, finds out

    def _write(self, line: bytes, method: str) -> None:
        if method == "closed":
            self._buffer.end_writing(*last_lines(line, self._buffer.seal()))
        elif method == "log_external_stream":
            self._offer(line)
        else:
            self._check(len(line))
            self._buffer.put(line, self._check)
            self._check()

    def _offer(self, line: bytes) -> None:
        if self._fits(len(line)):
            self._buffer.offer(line)
        else:
            self._buffer.drop()

    def _fits(self, size: int) -> bool:
        return self._buffer.all_bytes + size <= MAX_STREAMED_MESSAGES_BYTES

    def _check(self, size: int = 0) -> None:
        if self._disconnected:
            raise PipesCancelledError("Dagster no longer reads the response.")
        self._deadline.check()
        if size and not self._fits(size):
            raise DagsterPipesError(
                f"Expected the messages in the HTTP response to have at most {MAX_STREAMED_MESSAGES_BYTES:,} bytes, "
                f"got more.\nFix: Send less, or give the Dagster resource a bucket, with `messages='bucket'`."
            )


def stream_response(
    channel: ResponseChannel, request: AbstractContextManager[object], serve: Callable[[], object]
) -> "flask.Response":
    """Run a function's code in a thread, and return the response that has its messages.

    Args:
        channel: The channel of the session.
        request: Ends with the function's code.
        serve: Runs the function's code, and closes the session.
    """
    import flask

    @flask.copy_current_request_context
    def work() -> None:
        try:
            with request:
                serve()
        except Exception:  # noqa: BLE001 - `closed` has told Dagster; as Flask logs any other request's
            flask.current_app.log_exception(sys.exc_info())
        finally:
            channel.close()

    Thread(target=copy_context().run, args=(work,), name="pipes function", daemon=True).start()
    return flask.Response(channel.lines(), mimetype=NDJSON)
