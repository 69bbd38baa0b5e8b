"""Finds the processes that a test started, and their descendants: they inherit a mark in the environment."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_until

MARK = "GCF_PIPES_TEST_MARK"


@contextmanager
def nothing_left_running() -> Iterator[Mapping[str, str]]:
    """Yield the environment for a process; after the block, neither it nor a descendant may run."""
    mark = uuid.uuid4().hex
    yield {**os.environ, MARK: mark}
    wait_until(lambda: not processes_marked(mark), timeout=5)  # a killed process may take a moment


def processes_marked(mark: str) -> list[str]:
    """Return the command lines of the processes with this mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            if f"{MARK}={mark}".encode() in environment:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or belongs to another user
    return found
