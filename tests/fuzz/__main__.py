"""`python -m tests.fuzz [N]`: try at least N payloads, 100,000 by default, and count the outcomes."""

import logging
import sys
import time
import warnings
from collections import Counter
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import Subject, ViolationError, running_subject
from tests.fuzz.payloads import payloads

DEFAULT_PAYLOADS: Final = 100_000
BATCH: Final = 2_000
"""Payloads a hypothesis run; it remembers what it has tried, so that one long run would grow without end."""
SHOWN_BYTES: Final = 4_000


def main() -> int:
    """Return the exit status: 1 if a payload was not answered as it must be."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PAYLOADS
    logging.disable()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    started = time.monotonic()
    with running_subject() as subject:
        status = _fuzz(subject, wanted, counts)
    elapsed = time.monotonic() - started
    for outcome, count in counts.most_common():
        print(f"{count:>9,}  {outcome}")
    print(f"{counts.total():>9,}  payloads in {elapsed:.0f} s, {counts.total() / elapsed:.0f} a second")
    return status


def _fuzz(subject: Subject, wanted: int, counts: Counter[str]) -> int:
    first_seed = time.time_ns()
    while counts.total() < wanted:
        batch_seed = first_seed + counts.total()
        last = b""

        @seed(batch_seed)
        @settings(
            max_examples=min(BATCH, max(wanted - counts.total(), 10)),
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(body=payloads)
        def batch(body: bytes) -> None:
            nonlocal last
            last = body
            counts[subject.send(body)] += 1

        try:
            batch()
        except ViolationError as error:
            print(f"VIOLATION: {error}\nseed {batch_seed}, {len(last)} bytes: {last[:SHOWN_BYTES]!r}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
