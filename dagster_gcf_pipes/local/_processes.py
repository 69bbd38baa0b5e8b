"""Child processes that run while a block runs."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread, current_thread, main_thread
from typing import Any, TypeVar

Server = TypeVar("Server")

START_TIMEOUT = 120.0
STOP_TIMEOUT = 10.0
OUTPUT_TIMEOUT = 30.0
PORT_ATTEMPTS = 5
MAX_LINES = 100_000
MAX_LINE = 64 * 1024
"""Characters of a line that are read at once."""
OUTPUT_END_TIMEOUT = 1.0
"""Seconds to wait for the end of the output of an ended process. What it left running may keep it open."""
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a request to stop, a closed terminal."""


class ProcessError(RuntimeError):
    """A child process did not start, or did not print the expected text."""


@dataclass
class ChildProcess:
    """A running child process.

    Attributes:
        process: The process.
        ready_pattern: Finds the line that the process prints when it is ready.
        lines: The latest lines of its stdout and stderr, at most `MAX_LINES`.
        printed: Notified when the process prints a line, and when its output has ended.
        ready: The group of the pattern, empty before its line is printed.
        ended: Whether its output has ended.
    """

    process: "subprocess.Popen[str]"
    ready_pattern: re.Pattern[str]
    lines: list[str] = field(default_factory=list)
    printed: Condition = field(default_factory=Condition)
    ready: str = ""
    ended: bool = False

    @property
    def output(self) -> str:
        """The latest lines that the process has printed."""
        return "".join(self.lines)

    def wait_until_ready(self) -> None:
        """Wait until the process is ready.

        Raises:
            ProcessError: The process ended, or is not ready within `START_TIMEOUT` seconds.
        """
        with self.printed:
            self.printed.wait_for(lambda: self.ready or self.ended, START_TIMEOUT)
        if not self.ready:
            expected = self.ready_pattern.pattern
            raise ProcessError(f"Expected {self.process.args!r} to print {expected!r}, but it printed:\n{self.output}")

    def wait_for_output(self, text: str) -> None:
        """Wait until the process has printed `text`.

        Raises:
            ProcessError: It has not done so within `OUTPUT_TIMEOUT` seconds.
        """
        with self.printed:
            if not self.printed.wait_for(lambda: text in self.output, OUTPUT_TIMEOUT):
                raise ProcessError(f"Expected the process to print {text!r}, but it printed:\n{self.output}")

    def read_output(self, on_line: Callable[[str], None]) -> None:
        """Read the output until its end."""
        if self.process.stdout is None:
            raise TypeError("Expected the process to be started with a pipe for its output.")
        with self.process.stdout as stdout:
            while line := stdout.readline(MAX_LINE):
                on_line(line)
                self._add(line)
        with self.printed:
            self.ended = True
            self.printed.notify_all()

    def _add(self, line: str) -> None:
        with self.printed:
            self.lines.append(line)
            if len(self.lines) > MAX_LINES:
                del self.lines[: MAX_LINES // 2]
            if not self.ready and (match := self.ready_pattern.search(line)):
                self.ready = match[1]
            self.printed.notify_all()


def _ignore(_: str) -> None:
    pass


@contextmanager
def run_process(
    command: Sequence[str],
    *,
    ready: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] = _ignore,
    stop_signal: signal.Signals = signal.SIGTERM,
    stop_timeout: float = STOP_TIMEOUT,
    wait: bool = True,
) -> Iterator[ChildProcess]:
    """Run a command while the block runs.

    Args:
        command: The command with its arguments.
        ready: Regular expression with one group, for the line that the process prints when it is ready.
        env: Environment variables, in addition to this process's own.
        cwd: The process's working directory. Default: this process's own.
        on_line: Called with each line of output.
        stop_signal: The signal that asks the process to end.
        stop_timeout: Seconds that it has for that before it is killed.
        wait: Whether the block starts when the process is ready. Otherwise it starts at once. Default yes.

    Raises:
        ProcessError: The process ended, or did not become ready in time.
    """
    with ExitStack() as stack:
        with signals_held_back():  # until the callbacks that stop the process exist
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches only this process, which then stops its children in order
            )
            child = ChildProcess(process, re.compile(ready))
            pump = Thread(target=child.read_output, args=(on_line,), daemon=True)
            pump.start()
            stack.callback(pump.join, OUTPUT_END_TIMEOUT)
            stack.callback(stop_process, process, stop_signal, stop_timeout)
        if wait:
            child.wait_until_ready()
        yield child


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Handle the signals of the block at its end."""
    if current_thread() is not main_thread():
        yield  # only the main thread handles signals
        return
    received: list[int] = []
    handlers = {each: signal.getsignal(each) for each in ENDING_SIGNALS}
    for each in handlers:
        signal.signal(each, lambda signum, _: received.append(signum))
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    for signum in received:
        signal.raise_signal(signum)


def python_command(*arguments: str) -> list[str]:
    """Return a command that runs this Python."""
    return [sys.executable, *arguments]


@contextmanager
def run_on_free_port(run: Callable[[int], AbstractContextManager[Server]]) -> Iterator[Server]:
    """Run a server that cannot choose its port while the block runs.

    Another process can take the port before the server listens. Then the server is started again on another port.

    Args:
        run: Runs the server on a given port, and raises a `ProcessError` if it does not start.

    Raises:
        ProcessError: The server started on none of `PORT_ATTEMPTS` ports.
    """
    with ExitStack() as stack:
        yield _start_on_free_port(run, stack)


def _start_on_free_port(run: Callable[[int], AbstractContextManager[Server]], stack: ExitStack) -> Server:
    for _ in range(PORT_ATTEMPTS - 1):
        with suppress(ProcessError):
            return stack.enter_context(run(_free_port()))
    return stack.enter_context(run(_free_port()))


def _free_port() -> int:
    """Return a port that is free now, below those that the kernel gives to clients and to servers that ask for any."""
    while True:
        port = secrets.choice(range(20_000, 30_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until_listening(port: int, child: ChildProcess) -> None:
    """Wait until a child process listens on a local port.

    Raises:
        ProcessError: The process has ended, or does not listen after `START_TIMEOUT` seconds.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if child.process.poll() is not None or time.monotonic() > deadline:
            raise ProcessError(f"Expected the process to listen on port {port}, but it printed:\n{child.output}")
        time.sleep(0.05)


def stop_process(process: "subprocess.Popen[Any]", stop_signal: int, timeout: float) -> None:
    """Ask a process, which leads its own process group, to end. After `timeout` seconds kill all of the group."""
    process.send_signal(stop_signal)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
    finally:  # after an interruption too
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal a group of ended processes
            os.killpg(process.pid, signal.SIGKILL)  # also its children
        process.wait()
