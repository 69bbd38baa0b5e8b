"""Every fault plan of the tests, with both implementations: what is lost, doubled or hidden."""

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final

from dagster_gcp.pipes import PipesGCSMessageReader

from benchmarks._sizes import Sizes
from benchmarks._stack import FUNCTIONS
from benchmarks._stock import stock_asset
from benchmarks._table import Row
from dagster_gcf_pipes.local import Emulator, storage_client
from tests.faults.matrix import CASES, LINES, RUN_BOUND, Case
from tests.faults.outcome import Calling, Implementation, Outcome, ours, run_case
from tests.faults.plan import FaultNotTriggeredError
from tests.faults.stack import ONE_MESSAGE_PER_CHUNK, ProxiedStack, run_proxied_stack

AT_ONCE: Final = 6
"""Runs at the same time, each with its own function and proxies: the stock implementation sleeps most of its time."""
STOCK_FUNCTION: Final = FUNCTIONS / "stock_one_message_per_chunk" / "main.py"
STOCK_INTERVAL: Final = 0
"""Whole seconds between two polls, by default 10. The stock reader checks once a second."""
SECTION: Final = "faults"
MUST_BE_ZERO: Final[dict[str, Callable[[Outcome], int]]] = {
    "runs that lost messages": lambda outcome: outcome.lost > 0,
    "lines lost": lambda outcome: outcome.lost,
    "runs that showed messages twice": lambda outcome: outcome.doubled > 0,
    "runs in which the user's code ran twice": lambda outcome: outcome.run_twice,
    "runs whose code ran again when the call was delivered again": lambda outcome: outcome.run_late,
    "wrongly green": lambda outcome: outcome.wrongly_green,
    "hung": lambda outcome: outcome.hung,
}
COUNTS: Final[dict[str, Callable[[Outcome], int]]] = {
    **MUST_BE_ZERO,
    "wrongly red": lambda outcome: outcome.wrongly_red and not outcome.hung,
    "truthful failures": lambda outcome: outcome.truthful_failure,
    "green, and all is well": lambda outcome: outcome.sound,
}
NOTES: Final = f"""\
A fault plan is one fault at one place, or two faults in two attempts, or a status of the function's own. The function
writes {len(LINES)} lines, and each message is a chunk of its own.
Not triggered: the implementation does not make the request with the fault. The other rows count the other plans only.
Lost: the function wrote the line, and Dagster does not show it, though the run is green or the fault let it through.
Wrongly green: a success, but the user's code did not run to its end, or failed by its status, or lines are missing.
Delivered again: after the verdict, as a queue or a proxy may do.
Hung: not ended after {RUN_BOUND:.0f} s.
Wrongly red: a failure, but the user's code ran to its end, and the fault kept no message away for good.
Stock with faults: PipesGCSMessageWriter with open_dagster_pipes, as documented, but with interval=0 on both sides in
place of 10 s, its best pace. google-cloud-storage retries its requests; from 3.0 on also uploads. Ours: with shorter
and fewer pauses between attempts than by default. Both: a fresh function for each plan, because a warm one of stock
refuses every call but its first (dagster-io/dagster#22094)."""


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Run the plans, several at a time."""
    warnings.simplefilter("ignore")
    plans = dict(list(CASES.items())[:: sizes.fault_plan_step])
    ours_counts = _count(_run_all("ours", partial(_run, ours, ONE_MESSAGE_PER_CHUNK, emulator), plans))
    stock_counts = _count(_run_all("stock", partial(_run, stock, STOCK_FUNCTION, emulator), plans))
    for metric in ("plans", "not triggered", *COUNTS):
        bar = "0" if metric in MUST_BE_ZERO or metric == "not triggered" else ""
        yield Row(SECTION, metric, bar, str(ours_counts[metric]), str(stock_counts[metric]))


def stock(stack: ProxiedStack, _: str, event: dict[str, Any]) -> Calling:
    """Call with Dagster's own parts."""
    client = storage_client(stack.links["reader"].url)
    reader = PipesGCSMessageReader(bucket=stack.bucket, client=client, interval=STOCK_INTERVAL)
    return stock_asset(stack.links["call"].url, event, name="orders"), {"message_reader": reader}


def _run(implementation: Implementation, source: Any, emulator: Emulator, case: Case) -> Outcome | None:
    """Run a plan, and return its outcome, or None if it was not triggered."""
    # the stock implementation makes no second attempt
    once = replace(case, faults=tuple(replace(fault, minimum=min(fault.minimum, 1)) for fault in case.faults))
    try:
        with run_proxied_stack(emulator, source) as stack:
            return run_case(stack, once, implementation)
    except FaultNotTriggeredError:
        return None


def _run_all(name: str, run: Callable[[Case], Outcome | None], plans: dict[str, Case]) -> Iterator[Outcome | None]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, (plan, outcome) in enumerate(zip(plans, pool.map(run, plans.values()), strict=True), start=1):
            print(f"{name} {number}/{len(plans)}: {plan}: {_describe(outcome)}", file=sys.stderr, flush=True)
            yield outcome


def _count(outcomes: Iterator[Outcome | None]) -> Counter[str]:
    counter: Counter[str] = Counter()
    for outcome in outcomes:
        counter["plans"] += 1
        counter["not triggered"] += outcome is None
        counter.update({metric: int(count(outcome)) for metric, count in COUNTS.items() if outcome})
    return counter


def _describe(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not triggered"
    counts = [f"{metric}: {int(count(outcome))}" for metric, count in COUNTS.items() if count(outcome)]
    return f"{', '.join(counts)} ({outcome.seconds:.1f} s)"
