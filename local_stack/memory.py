"""The peak memory of processes, from Linux' /proc."""

import re
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024


def peak_memory(pid: int | str = "self") -> int:
    """The largest resident set that a process has had, in bytes; 0 where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(match[1]) * 1024 if match else 0


def peak_memory_of_workers(pid: int) -> int:
    """The sum of the largest resident sets of a process's children, gunicorn's workers, in bytes."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return sum(peak_memory(child) for child in children.read_text().split()) if children.exists() else 0
