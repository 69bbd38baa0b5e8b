"""Forwards a function's output to Dagster, each request's output to its own session.

`sys.stdout` and `sys.stderr` belong to the process, so they cannot be replaced per request while others run.
If `LOG_EXECUTION_ID` is set, functions-framework replaces them all the same, and logging handlers keep the stream that
they were created with. So the stream objects stay. The first session that forwards gives them another `write`,
permanently, which finds the session in the context. Output is captured no matter who holds a reference to the stream.

This applies to the streams at the time when the function is decorated, and to functions-framework's wrappers around
them. Any other stream belongs to whoever put it there, perhaps to another request. For example, output that
`contextlib.redirect_stdout` captures is not forwarded.
"""

import functools
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final, TextIO

from dagster_pipes import DagsterPipesError

from gcf_pipes._shared.exceptions import format_exception
from gcf_pipes._shared.in_process import in_process_request
from gcf_pipes._shared.own_logs import log

LABELS_FIELD: Final = "logging.googleapis.com/labels"
"""Field of a structured log line. functions-framework prints such lines if `LOG_EXECUTION_ID` is set.

Source: https://cloud.google.com/logging/docs/structured-logging
"""

MAX_PARTIAL_LINE: Final = 8 * 1024
"""Characters of a line that wait for its end. A progress bar never ends its line."""

MAX_TEXT: Final = 256 * 1024
"""Characters of one message."""

_own_streams: Final[dict[str, list[TextIO | None]]] = {"stdout": [sys.__stdout__], "stderr": [sys.__stderr__]}
_output: ContextVar["ForwardedOutput | None"] = ContextVar("gcf_pipes_forwarded_output", default=None)


@contextmanager
def not_forwarded() -> Iterator[None]:
    """Do not forward output of the block: it only goes to the original stream."""
    token = _output.set(None)
    try:
        yield
    finally:
        _output.reset(token)


class ForwardedOutput:
    """Forwards the output of one session while the block runs.

    Each line goes whole to the original stream and to Dagster: each thread has its own partial line. `print` never
    raises an upload's error; closing the session does. Output after the block only goes to the original stream.

    If the block raises, the traceback goes to Dagster's stderr. functions-framework itself prints it.

    A forked child's output only goes to the original stream, because the session belongs to the parent.

    Args:
        send: Sends text of "stdout" or "stderr" to Dagster.
        labels: The labels of the request's structured log lines. Of such a line, only the message is forwarded.
    """

    def __init__(self, send: Callable[[str, str], None], labels: Mapping[str, str]) -> None:
        self._send = send
        self._labels = labels
        self._partial_lines: dict[tuple[int, _ForwardingWrite], str] = {}
        self._closed = False
        self._process_id = os.getpid()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        forward_streams(stdout=own_streams("stdout"), stderr=own_streams("stderr"))
        self._token: Token[ForwardedOutput | None] = _output.set(self)

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        _output.reset(self._token)
        with self._lock:
            self._closed = True
            for (_thread, write), line in self._partial_lines.items():
                if line:
                    write.original(line)
                    self._forward(write.stream_name, line)
            if error:
                self._forward("stderr", format_exception(error))

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child. It must take no lock: a thread of its parent may have held it."""
        return os.getpid() != self._process_id

    def write(self, text: str, write: "_ForwardingWrite") -> None:
        """Write text of the current thread to a stream, and forward it."""
        with self._lock:
            lines = self._complete_lines(text, (threading.get_ident(), write))
        if lines:
            write.original(lines)
        with self._lock:
            if lines and not self._closed:
                self._forward(write.stream_name, lines)

    def _complete_lines(self, text: str, key: "tuple[int, _ForwardingWrite]") -> str:
        if self._closed:
            return text
        held = self._partial_lines.get(key, "") + text
        end = held.rfind("\n") + 1
        if len(held) - end > MAX_PARTIAL_LINE:
            end = len(held)
        self._partial_lines[key] = held[end:]
        return held[:end]

    def _forward(self, stream_name: str, lines: str) -> None:
        text = self._unstructured(lines)
        # closing the session raises the error of an upload; or the user's code has closed it already
        with suppress(DagsterPipesError):
            for start in range(0, len(text), MAX_TEXT):
                self._send(stream_name, _printable(text[start : start + MAX_TEXT]))

    def _unstructured(self, lines: str) -> str:
        """Return the message of a structured log line with the request's labels, and any other text as it is."""
        if not lines.startswith("{"):
            return lines
        try:
            entry = json.loads(lines)
            labels = entry.get(LABELS_FIELD, {})
            ours = labels.items() & self._labels.items()
            return f"{entry['message']}\n" if ours else lines
        except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
            return lines


def remember_streams() -> None:
    """Remember the current streams as the process's own. Call this when the instance starts."""
    _own_streams["stdout"].append(sys.stdout)
    _own_streams["stderr"].append(sys.stderr)


def own_streams(name: str) -> list[TextIO | None]:
    """The process's own streams of that name, and the current one if it wraps one of them.

    In a test that serves requests in process, the current one too: pytest replaces the streams for each test.
    """
    own = _own_streams[name]
    current = getattr(sys, name)
    inner = getattr(current, "stream", None)
    return [*own, current] if in_process_request() or any(inner is stream for stream in own) else own


def forward_streams(**streams: Iterable[TextIO | None]) -> None:
    """Give each stream a `write` that forwards, unless it has one.

    A stream that accepts no new attribute stays as it is, and a warning says so.

    Args:
        streams: The streams that Dagster calls "stdout", and those it calls "stderr".
    """
    for name, named in streams.items():
        for stream in named:
            if stream is not None:
                _forward_stream(name, stream)


def _forward_stream(name: str, stream: TextIO) -> None:
    with suppress(TypeError, AttributeError):
        # the object's attribute comes before that of its class; `setdefault` is atomic
        vars(stream).setdefault("write", _ForwardingWrite(name, stream.write))
    if not isinstance(getattr(stream, "write", None), _ForwardingWrite):
        _warn_of_stream(name, f"{type(stream).__module__}.{type(stream).__qualname__}")


@functools.cache
def _warn_of_stream(name: str, type_name: str) -> None:
    log(
        logging.WARNING,
        "[pipes] %s cannot be forwarded to Dagster: it is a %s, which takes no attribute.\n"
        "Fix: Make it an `io.TextIOWrapper`, or use `pipes.log`.",
        name,
        type_name,
    )


class _ForwardingWrite:
    """The `write` of a stream.

    Attributes:
        stream_name: "stdout" or "stderr".
        original: The stream's own `write`.
    """

    def __init__(self, stream_name: str, original: Callable[[str], object]) -> None:
        self.stream_name = stream_name
        self.original = original

    def __call__(self, text: str) -> int:
        output = _output.get()
        if output is None or output.is_inherited:
            self.original(text)
        else:
            with not_forwarded():  # the original may write to another stream, and sending may log
                output.write(text, self)
        return len(text)


def _printable(text: str) -> str:
    """Escape lone surrogates, which Dagster's stdout cannot encode."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
