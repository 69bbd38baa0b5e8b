"""The memory of processes, from Linux' /proc."""

import re
from pathlib import Path


def resident_memory(pid: int) -> int:
    """The resident set of a process, in bytes; 0 where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    match = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(match[1]) * 1024 if match else 0


def resident_memory_of_workers(pid: int) -> int:
    """The sum of the resident sets of a process's children, gunicorn's workers, in bytes."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return sum(resident_memory(int(child)) for child in children.read_text().split()) if children.exists() else 0
