"""The counts of a soak."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.faults.outcome import Outcome
from tests.memory import MIB
from tests.soak.runs import Task

MUST_BE_ZERO: Final = ("lost", "doubled", "out of order", "wrongly green", "wrongly red", "hung")


def judge(outcome: Outcome) -> Counter[str]:
    """Count what is wrong with a run."""
    if outcome.hung:
        return Counter({"runs": 1, "hung": 1})
    written, shown = outcome.record["lines"], outcome.shown
    return Counter(
        {
            "runs": 1,
            "messages": len(shown),
            "lost": outcome.lost,
            "doubled": outcome.doubled + max(outcome.record["started"] - 1, 0) + outcome.late_executions,
            "out of order": set(written) == set(shown) and written != list(dict.fromkeys(shown)),
            "wrongly green": outcome.wrongly_green,
            "wrongly red": not outcome.green and outcome.must_succeed,
        }
    )


@dataclass
class Summary:
    """The counts so far.

    Attributes:
        seed: The seed of the soak.
        counts: How often each thing happened.
        memory: The resident memory of Dagster's process and of the function's, in bytes, after each round of runs.
        bad_runs: The runs with something wrong, each with all that is known of it.
    """

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[int, int]] = field(default_factory=list)
    bad_runs: list[str] = field(default_factory=list)

    def add(self, task: Task, outcome: Outcome) -> None:
        """Count a run."""
        counts = judge(outcome)
        self.counts.update(counts)
        if bad := [name for name in MUST_BE_ZERO if counts[name]]:
            self.bad_runs.append(f"{', '.join(bad)}: {task}: {outcome}")

    @property
    def exit_status(self) -> int:
        """1 if anything was lost, doubled, wrongly green or red, or hung, or if there was no run."""
        return int(not self.counts["runs"] or any(self.counts[name] for name in MUST_BE_ZERO))

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the summary: names and values."""
        counted = [(name, f"{self.counts[name]:,}") for name in ("runs", "messages", "faults injected", *MUST_BE_ZERO)]
        first, last = self.memory[len(self.memory) // 5], self.memory[-1]  # a fifth of the time to warm up
        processes = zip(("Dagster's process", "the function's process"), first, last, strict=True)
        grown = [(f"memory of {name}", f"{start // MIB} MiB, then {end // MIB} MiB") for name, start, end in processes]
        return [*counted, *grown]
