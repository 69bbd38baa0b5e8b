"""`python -m tests.soak MINUTES [SEED]`: make runs with sporadic faults for so long, and print the counts."""

import sys
import time

from tabulate import tabulate

from dagster_gcf_pipes.local._dev import exit_on_signals
from tests.soak.soak import soak
from tests.soak.summary import Summary


def main() -> int:
    """Return the exit status: 1 if anything was lost, doubled, wrongly green or red, or hung."""
    exit_on_signals()
    minutes = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    print(f"seed {seed}", flush=True)
    summary = soak(minutes * 60, seed, _show_progress)
    print(tabulate(summary.rows(), colalign=("left", "right")))
    for bad_run in summary.bad_runs:
        print(bad_run)
    return summary.exit_status


def _show_progress(summary: Summary) -> None:
    counts = summary.counts
    print(f"{counts['runs']} runs, {counts['faults injected']} faults injected", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
