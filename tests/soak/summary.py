"""What is counted in a soak."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.functions.record import Record
from tests.soak.runs import Result, Task

MUST_BE_ZERO: Final = ("lost", "doubled", "out of order", "wrongly green", "wrongly red", "hung")
MIB: Final = 1024 * 1024


def judge(task: Task, result: Result, record: Record) -> Counter[str]:
    """Count what Dagster shows of a run against what the function did."""
    written, shown = record["lines"], result.shown
    if result.hung:
        return Counter({"runs": 1, "hung": 1})
    lost = len(set(written) - set(shown))
    succeeded = record["ended"] > 0 and not task.fails
    return Counter(
        {
            "runs": 1,
            "messages": len(shown),
            "lost": lost,
            "doubled": len(shown) - len(set(shown)) + max(record["started"] - 1, 0),
            "out of order": set(written) == set(shown) and written != list(dict.fromkeys(shown)),
            "wrongly green": result.green and (lost > 0 or not succeeded),
            "wrongly red": not result.green and not task.fails,
        }
    )


@dataclass
class Summary:
    """What has been counted so far.

    Attributes:
        seed: The seed of the soak.
        counts: How often each thing happened.
        memory: The resident memory of Dagster's process and of the function's, in bytes, after each round of runs.
        bad_runs: What each run was that must not have been.
    """

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[int, int]] = field(default_factory=list)
    bad_runs: list[str] = field(default_factory=list)

    def add(self, task: Task, result: Result, record: Record) -> None:
        """Count a run."""
        counts = judge(task, result, record)
        self.counts.update(counts)
        if bad := [name for name in MUST_BE_ZERO if counts[name]]:
            self.bad_runs.append(f"{', '.join(bad)}: {task}: {record}: {result}")

    @property
    def exit_status(self) -> int:
        """1 if anything was lost, doubled, wrongly green or red, or hung, or if there was no run."""
        return int(not self.counts["runs"] or any(self.counts[name] for name in MUST_BE_ZERO))

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the summary: what, and how much."""
        counted = [(name, f"{self.counts[name]:,}") for name in ("runs", "messages", "faults met", *MUST_BE_ZERO)]
        first, last = self.memory[len(self.memory) // 5], self.memory[-1]  # a fifth of the time to warm up
        processes = zip(("Dagster's process", "the function's process"), first, last, strict=True)
        grown = [(f"memory of {name}", f"{start // MIB} MiB, then {end // MIB} MiB") for name, start, end in processes]
        return [*counted, *grown]
