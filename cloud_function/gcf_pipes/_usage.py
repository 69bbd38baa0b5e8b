"""Measures what each request uses: its time, CPU and peak memory.

What the kernel does not tell is unknown, and is left out. A measurement never fails a request.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from gcf_pipes._shared.protocol import Usage

ROOT: Final = Path("/")
SAMPLE_INTERVAL: Final = 0.25
"""Seconds between two samples of the memory while a request runs."""
MAX_LIMIT: Final = 1 << 60
"""A memory limit from here on, in bytes, is how the kernel says that there is none."""
_RESET_PEAK: Final = b"5"
"""Source: man 5 proc_pid_clear_refs ("Reset the peak resident set size")."""


@dataclass(frozen=True)
class Container:
    """The memory and the CPUs of the container, from the kernel's control groups, version 2 or 1.

    The sandbox of Cloud Run's first generation has some files of version 1. A file that is missing is unknown.
    Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
    and, of the sandbox, https://github.com/google/gvisor/blob/master/pkg/sentry/fsimpl/cgroupfs/memory.go.

    Args:
        root: The root of the file system.
    """

    root: Path = ROOT

    @property
    def memory_limit(self) -> int | None:
        """The memory limit, in bytes."""
        limit = self._number("memory.max") or self._number("memory/memory.limit_in_bytes")
        return limit if limit and limit < MAX_LIMIT else None

    @property
    def cpus(self) -> float | None:
        """How many CPUs the container may use at once, such as 0.583."""
        quota, _, period = (self._text("cpu.max") or "").partition(" ")
        quota = quota or self._text("cpu/cpu.cfs_quota_us") or ""
        period = period or self._text("cpu/cpu.cfs_period_us") or ""
        return int(quota) / int(period) if _is_positive(quota) and _is_positive(period) else None

    def memory(self) -> int:
        """The memory in use, in bytes, or 0 if it is unknown.

        It includes child processes and files in memory, such as those in /tmp. It leaves out the inactive file cache,
        which the kernel frees before it kills a process.
        """
        if used := self._number("memory.current"):
            return max(used - self._cache("memory.stat", "inactive_file"), 0)
        used = self._number("memory/memory.usage_in_bytes") or 0
        return max(used - self._cache("memory/memory.stat", "total_inactive_file"), 0)

    def _cache(self, file: str, name: str) -> int:
        match = re.search(rf"^{name} (\d+)$", self._text(file) or "", re.MULTILINE)
        return int(match[1]) if match else 0

    def _number(self, file: str) -> int | None:
        text = self._text(file) or ""
        return int(text) if _is_positive(text) else None

    def _text(self, file: str) -> str | None:
        return _read(self.root / "sys/fs/cgroup" / file)


class ProcessMemory:
    """The resident memory of this process.

    Linux keeps its peak, and lets a process reset it. Where it cannot be reset, the peak is known if it is a new one.

    Args:
        root: The root of the file system.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._process = root / "proc/self"
        self._earlier_peak = 0

    def reset_peak(self) -> bool:
        """Forget the peak so far. Return whether the next one will be exact."""
        was_reset = self._reset()
        self._earlier_peak = 0 if was_reset else self._peak(self._status())
        return was_reset

    def peak(self) -> int:
        """The peak since the reset, in bytes. If it is unknown, the memory now; or 0 if that is unknown too."""
        status = self._status()
        peak = self._peak(status)
        return peak if peak > self._earlier_peak else _kib(status, "VmRSS")

    def _status(self) -> str:
        return _read(self._process / "status") or ""

    def _peak(self, status: str) -> int:
        return _kib(status, "VmHWM") or _peak_of_getrusage()

    def _reset(self) -> bool:
        try:
            file = os.open(self._process / "clear_refs", os.O_WRONLY)
        except OSError:
            return False
        try:
            return os.write(file, _RESET_PEAK) == len(_RESET_PEAK)
        except OSError:
            return False
        finally:
            os.close(file)


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process, and of those child processes that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


@dataclass(eq=False)
class _Measurement:
    """What one request has used so far.

    Attributes:
        peak: The peak memory, in bytes, or 0 if it is unknown.
        shared: Whether other requests ran at the same time.
        started: When it started, on the monotonic clock.
        cpu_before: The CPU seconds of the process until then.
    """

    peak: int = 0
    shared: bool = False
    started: float = field(default_factory=time.monotonic)
    cpu_before: float = field(default_factory=_cpu_seconds)

    @property
    def usage(self) -> Usage:
        usage = Usage(
            wall_seconds=round(time.monotonic() - self.started, 6),
            cpu_seconds=round(_cpu_seconds() - self.cpu_before, 6),
        )
        if self.peak:
            usage["peak_memory_bytes"] = self.peak
        if self.shared:
            usage["shared"] = True
        return usage


class UsageMeter:
    """Measures the requests that a process serves. Thread-safe.

    The peak memory of a request is the larger of two figures. The peak of the process's own memory is exact on Linux.
    The memory of the whole container is sampled: at the start, four times a second, and at the end. So is the
    process's own where its peak cannot be reset.

    Requests that run at the same time have the same memory and CPU: those of the process and its container.

    Args:
        container: The container. Without a memory limit it is not counted: then it may be the whole machine.
        process: The memory of this process.
    """

    def __init__(self, container: Container | None, process: ProcessMemory | None = None) -> None:
        self._container = container if container and container.memory_limit else None
        self._process = process or ProcessMemory()
        self._running: list[_Measurement] = []
        self._sampler: Thread | None = None
        self._lock = Lock()

    @contextmanager
    def measuring(self) -> Iterator[Callable[[], Usage]]:
        """Measure a request while the block runs; yield a function that returns what it has used until then."""
        measurement = _Measurement()

        def get_usage() -> Usage:
            with self._lock:
                self._sample()
            return measurement.usage

        with self._lock:
            self._start(measurement)
        try:
            yield get_usage
        finally:
            with self._lock:
                self._running.remove(measurement)

    def _start(self, measurement: _Measurement) -> None:
        self._sample()  # the peak until now is that of the requests before
        is_exact = self._process.reset_peak()
        self._running.append(measurement)
        self._sample()
        if len(self._running) > 1:
            for each in self._running:
                each.shared = True
        if self._sampler is None and (self._container or not is_exact):
            sampler = Thread(target=self._sample_until_idle, name="pipes memory", daemon=True)
            with suppress(RuntimeError):  # no memory for a thread
                sampler.start()
                self._sampler = sampler

    def _sample_until_idle(self) -> None:
        while True:
            time.sleep(SAMPLE_INTERVAL)
            with self._lock:
                if not self._running:
                    self._sampler = None
                    return
                self._sample()

    def _sample(self) -> None:
        with suppress(MemoryError):  # just when it matters most, `closed` must still be written
            memory = max(self._process.peak(), self._container.memory() if self._container else 0)
            for each in self._running:
                each.peak = max(each.peak, memory)


def _read(path: Path) -> str | None:
    """Return the text of a file of the kernel, or None if there is none that can be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _is_positive(text: str) -> bool:
    return re.fullmatch(r"0*[1-9][0-9]{0,18}", text) is not None


def _kib(status: str, name: str) -> int:
    match = re.search(rf"^{name}:\s*([0-9]{{1,15}}) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _peak_of_getrusage() -> int:
    """Return the peak since the process started, in bytes: the sandbox of the first generation has no `VmHWM`."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
