"""The memory of processes, from /proc on Linux; 0 elsewhere."""

import re
from pathlib import Path
from typing import Final, Literal

MIB: Final = 1024 * 1024
Figure = Literal["VmRSS", "VmHWM"]
"""The resident set of a process now, and its peak. Source: man 5 proc_pid_status."""


def memory(figure: Figure, pid: int | str = "self") -> int:
    """The figure of a process, in bytes."""
    status = Path(f"/proc/{pid}/status")
    match = re.search(rf"{figure}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(match[1]) * 1024 if match else 0


def memory_of_workers(figure: Figure, pid: int) -> int:
    """The sum of the figures of a process's children, gunicorn's workers, in bytes."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return sum(memory(figure, child) for child in children.read_text().split()) if children.exists() else 0
