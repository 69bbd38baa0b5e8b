"""Child processes that are ready when they say so, and gone when their block ends."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


class ProcessError(RuntimeError):
    """A child process did not start."""


@dataclass
class ChildProcess:
    """A running child process.

    Attributes:
        process: The process.
        lines: What it has printed so far, to stdout and stderr.
        ready: What the group of the pattern for which `run_process` waited has matched, empty while it waits.
    """

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    ready: str = ""

    @property
    def output(self) -> str:
        """All that the process has printed so far."""
        return "".join(self.lines)


def _ignore(_: str) -> None:
    pass


@contextmanager
def run_process(
    command: Sequence[str],
    *,
    ready: str,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = _ignore,
) -> Iterator[ChildProcess]:
    """Run a command while the block runs.

    Args:
        command: The command with its arguments.
        ready: Regular expression, with one group, of the line with which the process says that it is ready.
        env: Environment variables, beside this process's own.
        on_line: Called with each line that the process prints.

    Raises:
        ProcessError: The process ended, or did not become ready in time.
    """
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    child = ChildProcess(process)
    settled = Event()
    pump = Thread(target=_pump, args=(child, re.compile(ready), settled, on_line), daemon=True)
    pump.start()
    try:
        if not settled.wait(START_TIMEOUT) or not child.ready:
            raise ProcessError(f"Expected {command[0]} to print {ready!r}, but it printed:\n{child.output}")
        yield child
    finally:
        _stop(process)
        pump.join(STOP_TIMEOUT)


def python_command(*arguments: str) -> list[str]:
    """Return a command that runs this Python."""
    return [sys.executable, *arguments]


def _pump(child: ChildProcess, ready: re.Pattern[str], settled: Event, on_line: Callable[[str], None]) -> None:
    if child.process.stdout is None:
        raise TypeError("Expected the process to be started with a pipe for its output.")
    with child.process.stdout as stdout:
        for line in stdout:
            child.lines.append(line)
            on_line(line)
            if not child.ready and (match := ready.search(line)):
                child.ready = match[1]
                settled.set()
    settled.set()


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
