"""What a request uses: from this process's own memory and CPU, and from files like those of the kernel."""

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from gcf_pipes._usage import Container, ProcessMemory, UsageMeter

from tests.waiting import wait_until

MIB = 1024 * 1024
UNLIMITED = 9223372036854771712
needs_reset = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no Linux")


def write(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


def cgroup(root: Path, files: dict[str, object]) -> Container:
    return Container(write(root, {f"sys/fs/cgroup/{name}": content for name, content in files.items()}))


VERSION_2 = {
    "memory.max": 512 * MIB,
    "memory.current": 300 * MIB,
    "memory.stat": f"anon 1\ninactive_file {100 * MIB}\nactive_file 3",
    "cpu.max": "58300 100000",
}
VERSION_1 = {
    "memory/memory.limit_in_bytes": 512 * MIB,
    "memory/memory.usage_in_bytes": 300 * MIB,
    "memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {100 * MIB}",
    "cpu/cpu.cfs_quota_us": 58300,
    "cpu/cpu.cfs_period_us": 100000,
}
SANDBOX = {
    "memory/memory.limit_in_bytes": 512 * MIB,
    "memory/memory.usage_in_bytes": 200 * MIB,
    "cpu/cpu.cfs_quota_us": 58300,
    "cpu/cpu.cfs_period_us": 100000,
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1, SANDBOX], ids=["version 2", "version 1", "first generation"])
def test_a_container_tells_its_size_and_its_memory_without_the_file_cache(
    tmp_path: Path, files: dict[str, object]
) -> None:
    container = cgroup(tmp_path, files)
    assert (container.memory_limit, container.cpus, container.memory()) == (512 * MIB, 0.583, 200 * MIB)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory.max": "max", "cpu.max": "max 100000"},
        {"memory/memory.limit_in_bytes": UNLIMITED, "cpu/cpu.cfs_quota_us": -1, "cpu/cpu.cfs_period_us": 100000},
        {"memory.max": "much", "memory.current": "-1", "memory.stat": "", "cpu.max": "1"},
        {"memory.max": "9" * 30, "memory.current": "\x00", "cpu.max": "100000 0"},
    ],
)
def test_what_the_kernel_does_not_tell_is_unknown(tmp_path: Path, files: dict[str, object]) -> None:
    container = cgroup(tmp_path, files)
    assert (container.memory_limit, container.cpus, container.memory()) == (None, None, 0)


def test_a_container_without_any_file_fails_no_request(tmp_path: Path) -> None:
    with UsageMeter(Container(tmp_path), ProcessMemory(tmp_path)).measuring() as get_usage:
        usage = get_usage()
    assert {"wall_seconds", "cpu_seconds"} <= usage.keys()
    assert usage["wall_seconds"] >= 0
    assert usage["cpu_seconds"] >= 0


def take(mib: int) -> None:
    """Take memory for a moment. So much comes from the kernel, and goes back to it."""
    assert b"1" * (mib * MIB)


@needs_reset
def test_a_request_after_a_larger_one_has_its_own_peak() -> None:
    meter = UsageMeter(None)
    peaks = []
    for mib in (200, 5, 100):
        with meter.measuring() as get_usage:
            take(mib)
            peaks.append(get_usage()["peak_memory_bytes"] / MIB)
    assert peaks[0] - peaks[1] == pytest.approx(195, abs=5)
    assert peaks[2] - peaks[1] == pytest.approx(95, abs=5)


@needs_reset
def test_a_request_has_the_peaks_of_others_only_while_it_runs() -> None:
    meter = UsageMeter(None)
    with meter.measuring() as get_long:
        take(200)
        with meter.measuring() as get_short:
            take(5)
            short = get_short()
        long = get_long()
    with meter.measuring() as get_next:
        next_ = get_next()
    assert long["peak_memory_bytes"] - short["peak_memory_bytes"] == pytest.approx(195 * MIB, abs=5 * MIB)
    assert (long.get("shared"), short.get("shared"), next_.get("shared")) == (True, True, None)


def process(root: Path, peak: int, now: int) -> ProcessMemory:
    write(root, {"proc/self/status": f"Name:\tpython\nVmHWM:\t  {peak} kB\nVmRSS:\t   {now} kB\nThreads:\t3"})
    return ProcessMemory(root)


def test_where_the_peak_cannot_be_reset_a_new_one_counts_and_else_the_memory_now(tmp_path: Path) -> None:
    memory = process(tmp_path, 500, 100)
    memory.reset_peak()
    assert memory.peak() == 100 * 1024
    process(tmp_path, 500, 120)
    assert memory.peak() == 120 * 1024
    process(tmp_path, 501, 120)
    assert memory.peak() == 501 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="no Linux")
def test_without_the_peak_in_proc_that_of_getrusage_counts(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/status": "Name:\tpython"})
    assert ProcessMemory(tmp_path).peak() > MIB


@dataclass(frozen=True)
class Watched(Container):
    """A container that tells when its memory was read."""

    on_read: Callable[[int], None] = lambda _: None

    def memory(self) -> int:
        memory = super().memory()
        self.on_read(memory)
        return memory


def samplers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pipes memory"]


def test_the_container_is_sampled_while_a_request_runs_and_not_after(tmp_path: Path) -> None:
    high = threading.Event()
    container = Watched(tmp_path, lambda memory: high.set() if memory == 900 * MIB else None)
    cgroup(tmp_path, {"memory.max": 1024 * MIB, "memory.current": 100 * MIB})
    meter = UsageMeter(container, ProcessMemory(tmp_path))
    with meter.measuring() as get_usage:
        cgroup(tmp_path, {"memory.current": 900 * MIB})
        assert high.wait(10)
        cgroup(tmp_path, {"memory.current": 100 * MIB})
        assert get_usage()["peak_memory_bytes"] == 900 * MIB
    wait_until(lambda: not samplers())
    with meter.measuring() as get_usage:
        assert len(samplers()) == 1
        with meter.measuring():
            assert len(samplers()) == 1
        assert get_usage()["peak_memory_bytes"] < 900 * MIB


def test_a_container_without_a_limit_may_be_the_whole_machine_and_is_not_counted(tmp_path: Path) -> None:
    container = cgroup(tmp_path, {"memory.max": "max", "memory.current": 64_000 * MIB})
    with UsageMeter(container).measuring() as get_usage:
        assert get_usage()["peak_memory_bytes"] < 4_000 * MIB


def test_where_the_peak_cannot_be_reset_the_memory_of_the_process_is_sampled(tmp_path: Path) -> None:
    meter = UsageMeter(None, process(tmp_path, 900, 100))
    with meter.measuring() as get_usage:
        process(tmp_path, 900, 300)
        wait_until(lambda: max(each.peak for each in meter._running) == 300 * 1024)  # noqa: SLF001
        process(tmp_path, 900, 100)
        assert get_usage()["peak_memory_bytes"] == 300 * 1024


def test_many_requests_at_once_leave_nothing_behind(tmp_path: Path) -> None:
    meter = UsageMeter(Container(tmp_path))

    def serve() -> None:
        for _ in range(50):
            with meter.measuring() as get_usage:
                assert get_usage()["peak_memory_bytes"] > 0

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with meter.measuring() as get_usage:
        assert "shared" not in get_usage()
