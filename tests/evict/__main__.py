"""`python -m tests.evict`: kill Dagster's processes at many points in the life of a call, and print the counts."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dagster_gcf_pipes.local._dev import exit_on_signals
from tests.evict.cases import STRIKES, Case, boundary_cases, daemon_cases, spread, timed_cases
from tests.evict.daemon import run_daemon
from tests.evict.stack import Implementation, Stack, run_stack
from tests.evict.summary import NOTES, format_table
from tests.evict.trials import Outcome, crossed, run_case, run_daemon_case


def main() -> int:
    """Return the exit status: 1 unless our client is right after each kill."""
    exit_on_signals()
    options = _parse_options()
    started = time.monotonic()
    implementations: tuple[Implementation, ...] = ("ours", "stock") if options.stock else ("ours",)
    with run_stack(implementations=implementations, postgres=options.postgres) as stack:
        outcomes = [*_run_all(stack, implementations, options), *_run_with_daemon(stack, options)]
    print(format_table(outcomes))
    unreached = [outcome for outcome in outcomes if not outcome.phase]
    print(f"\n{NOTES}\nNot killed, because the process did not come to that boundary: {len(unreached)}.")
    database = "PostgreSQL" if options.postgres else "SQLite"
    print(f"{database}, {os.cpu_count()} cores, {time.monotonic() - started:.0f} s.")
    return 0 if all(each.good for each in outcomes if each.case.implementation == "ours") else 1


def _run_all(stack: Stack, implementations: Sequence[Implementation], options: argparse.Namespace) -> Iterator[Outcome]:
    with ThreadPoolExecutor(options.workers) as pool:
        try:
            for implementation in implementations:
                cases = _choose(stack, pool, implementation, options)
                for number, outcome in enumerate(pool.map(partial(run_case, stack), cases), start=1):
                    yield _shown(outcome, f"{number}/{len(cases)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stack.close()
            raise


def _run_with_daemon(stack: Stack, options: argparse.Namespace) -> Iterator[Outcome]:
    """Let a real daemon retry some runs."""
    cases = [case for case in daemon_cases() if options.only in str(case)]
    if cases and options.daemon:
        with run_daemon(stack) as daemon:
            for number, case in enumerate(cases, start=1):
                yield _shown(run_daemon_case(stack, daemon, case), f"{number}/{len(cases)}")


def _shown(outcome: Outcome, progress: str) -> Outcome:
    verdict = "good" if outcome.good or not outcome.phase else "BAD "
    print(f"{progress} {verdict} {outcome}", file=sys.stderr, flush=True)
    return outcome


def _choose(
    stack: Stack, pool: ThreadPoolExecutor, implementation: Implementation, options: argparse.Namespace
) -> list[Case]:
    """Make a run of each setup that nobody kills, and choose from the boundaries that it crosses."""
    found = pool.map(lambda setup: crossed(stack, Case(implementation, setup)), STRIKES)
    cases = boundary_cases(implementation, dict(zip(STRIKES, found, strict=True)))
    chosen: list[Case] = []
    for shift in range(options.seed, options.seed + options.repeat):
        chosen += spread(cases, options.points, shift)
        chosen += timed_cases(implementation, options.timed, shift)
    return [case for case in chosen if options.only in str(case)]


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just evict", description="Kill Dagster's processes while they call a function."
    )
    parser.add_argument("--points", type=int, default=210, help="how many boundaries (default: %(default)s)")
    parser.add_argument("--timed", type=int, default=20, help="how many random times (default: %(default)s)")
    parser.add_argument("--only", default="", help="only kills whose line has this text, such as 'op_retries: SIGKILL'")
    parser.add_argument("--repeat", type=int, default=1, help="how often; each time with other victims and times")
    parser.add_argument("--seed", type=int, default=0, help="chooses victims and times (default: %(default)s)")
    parser.add_argument("--stock", action="store_true", help="also kill the processes of Dagster's own parts")
    parser.add_argument("--postgres", action="store_true", help="with PostgreSQL in place of SQLite")
    parser.add_argument("--daemon", action="store_true", help="also let a real daemon retry three runs")
    parser.add_argument("--workers", type=int, default=3, help="runs at the same time (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
