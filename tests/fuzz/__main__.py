"""`python -m tests.fuzz [N]`: try at least N payloads, 100,000 by default, and count the outcomes."""

import logging
import resource
import sys
import time
import warnings
from collections import Counter
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.entry_point import EntryPointUnderTest, ViolationError, run_entry_point
from tests.fuzz.oracle import Request
from tests.fuzz.payloads import requests

DEFAULT_PAYLOADS: Final = 100_000
BATCH: Final = 2_000
"""Payloads of one run of hypothesis. It remembers each, so that a longer run would need more and more memory."""
SHOWN: Final = 4_000
MAX_MEMORY: Final = 512
"""The peak of the process's memory in MiB, with hypothesis and Flask."""


def main() -> int:
    """Return the exit status: 1 if an answer was wrong, or if memory is not bounded."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PAYLOADS
    logging.disable()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    started = time.monotonic()
    with run_entry_point() as entry_point:
        status = _fuzz(entry_point, min(BATCH, wanted), counts)
        first_peak = _peak_memory()
        status = status or _fuzz(entry_point, wanted, counts)
    elapsed = time.monotonic() - started
    for outcome, count in counts.most_common():
        print(f"{count:>9,}  {outcome}")
    print(f"{counts.total():>9,}  payloads in {elapsed:.0f} s, {counts.total() / elapsed:.0f} a second")
    print(f"memory at its peak: {first_peak} MiB after the first batch, {_peak_memory()} MiB at the end")
    return status or int(_peak_memory() > MAX_MEMORY)


def _peak_memory() -> int:
    """Return the peak of this process's memory in MiB. Linux gives KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _fuzz(entry_point: EntryPointUnderTest, wanted: int, counts: Counter[str]) -> int:
    first_seed = time.time_ns()
    while counts.total() < wanted:
        batch_seed = first_seed + counts.total()
        last: Request | None = None

        @seed(batch_seed)
        @settings(
            max_examples=min(BATCH, max(wanted - counts.total(), 10)),
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(request=requests)
        def batch(request: Request) -> None:
            nonlocal last
            last = request
            counts[entry_point.send(request)] += 1

        try:
            batch()
        except ViolationError as error:
            print(f"VIOLATION: {error}\nseed {batch_seed}, {last!r:.{SHOWN}}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
