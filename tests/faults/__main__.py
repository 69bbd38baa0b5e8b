"""`python -m tests.faults`: run every plan of the matrix with our pair and with the stock pair, and count side by side.

Progress goes to stderr, the table to stdout. Each plan has a fresh function: a warm one of the stock pair refuses every
call but its first (dagster-io/dagster#22094).
"""

import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Final

from tabulate import tabulate

from local_stack.emulators import Emulator, available_emulators, run_emulator
from local_stack.stack import exit_on_signals
from tests.faults.matrix import CASES, LINES, RUN_BOUND, Case
from tests.faults.pairs import OURS, STOCK, Pair, storage_client
from tests.faults.plan import FaultNotMetError
from tests.faults.running import Outcome, run_case

AT_ONCE: Final = 6
"""Runs at the same time, each with its own function and its own proxies: the stock pair mostly sleeps."""
BUCKET: Final = "bucket-of-faults"
PAIRS: Final[dict[str, Pair]] = {"ours": OURS, "stock": STOCK}
COUNTS: Final[dict[str, Callable[[Outcome], int]]] = {
    "runs that lost messages": lambda outcome: outcome.lost > 0,
    "lines lost": lambda outcome: outcome.lost,
    "runs that showed messages twice": lambda outcome: outcome.doubled > 0,
    "runs in which the user's code ran twice": lambda outcome: outcome.run_twice,
    "runs whose code ran again when the call was delivered again": lambda outcome: outcome.run_late,
    "wrongly green": lambda outcome: outcome.wrongly_green,
    "hung": lambda outcome: outcome.hung,
    "wrongly red": lambda outcome: outcome.wrongly_red and not outcome.hung,
    "truthful failures": lambda outcome: outcome.truthful_failure,
    "green, and all is well": lambda outcome: outcome.sound,
}
MUST_BE_ZERO: Final = ("not met", *tuple(COUNTS)[:7])
NOTES: Final = f"""\
A plan is one fault at one place, or two faults in two attempts, or a status of the function's own. The function writes
{len(LINES)} lines, and each message is a chunk of its own.
Not met: the pair does not make the request that the fault strikes. All other rows count the other plans alone.
Lost: the function wrote the line, and Dagster does not show it, though the run is green or the fault let it through.
Wrongly green: a success, but the user's code did not run to its end, or failed by its status, or lines are missing.
Delivered again: after the verdict, as a queue or a proxy may do.
Hung: not ended after {RUN_BOUND:.0f} s.
Wrongly red: a failure, but the user's code ran to its end, and the fault kept no message away for good.
Stock: dagster_gcp's PipesGCSMessageReader, dagster_pipes' PipesGCSMessageWriter and open_dagster_pipes, a plain POST,
as documented, but with interval=0 on both sides in place of their 10 s: their best pace. What is repeated for them,
google-cloud-storage repeats: from 3.0 on it does so for uploads too. Ours: with shorter and fewer pauses between the
attempts of a call than by default. Both: a fresh function for each plan."""


def main() -> int:
    """Print the table; return the exit status: 1 if our pair lost, doubled or hid anything, hung, or missed a plan."""
    exit_on_signals()
    warnings.simplefilter("ignore")
    started = time.monotonic()
    with run_emulator(available_emulators()[0]) as emulator:
        with closing(storage_client(emulator.url)) as admin:
            admin.create_bucket(BUCKET)
        counts = {name: _count(_run_all(name, pair, emulator)) for name, pair in PAIRS.items()}
    rows = [[metric, *(counts[name][metric] for name in PAIRS)] for metric in ("plans", "not met", *COUNTS)]
    print(tabulate(rows, headers=["", *PAIRS], tablefmt="github"))
    print(f"\n{NOTES}\n{_versions(emulator)} {os.cpu_count()} cores, {time.monotonic() - started:.0f} s.")
    return int(any(counts["ours"][metric] for metric in MUST_BE_ZERO))


def _run_all(name: str, pair: Pair, emulator: Emulator) -> Iterator[Outcome | None]:
    """Run each plan, and give what came of it, None if it was not met."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = pool.map(partial(_run, pair, emulator), CASES.values())
        for number, (plan, outcome) in enumerate(zip(CASES, outcomes, strict=True), start=1):
            print(f"{name} {number}/{len(CASES)}: {plan}: {_describe(outcome)}", file=sys.stderr, flush=True)
            yield outcome


def _run(pair: Pair, emulator: Emulator, case: Case) -> Outcome | None:
    # the stock pair makes no second attempt
    struck_once = replace(case, faults=tuple(replace(fault, minimum=min(fault.minimum, 1)) for fault in case.faults))
    try:
        with pair.running(emulator, BUCKET) as parts:
            return run_case(pair, parts, struck_once)
    except FaultNotMetError:
        return None


def _count(outcomes: Iterator[Outcome | None]) -> Counter[str]:
    counter: Counter[str] = Counter()
    for outcome in outcomes:
        counter["plans"] += 1
        counter["not met"] += outcome is None
        counter.update({metric: int(count(outcome)) for metric, count in COUNTS.items() if outcome})
    return counter


def _describe(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not met"
    told = [f"{metric}: {int(count(outcome))}" for metric, count in COUNTS.items() if count(outcome)]
    return f"{', '.join(told)} ({outcome.seconds:.1f} s)"


def _versions(emulator: Emulator) -> str:
    libraries = ("dagster", "dagster-gcp", "dagster-pipes", "google-cloud-storage")
    return f"Emulator: {emulator.name}. {', '.join(f'{library} {version(library)}' for library in libraries)}."


if __name__ == "__main__":
    sys.exit(main())
