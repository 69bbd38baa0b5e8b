"""The table of the outcomes, by the phase of the call in which the kill happened."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from tabulate import tabulate

from tests.evict.boundaries import Phase
from tests.evict.trials import Outcome

COLUMNS: Final[Mapping[str, Callable[[Outcome], int]]] = {
    "kills": lambda _: 1,
    "ran once": lambda outcome: outcome.executions == 1,
    "never": lambda outcome: outcome.executions == 0,
    "2 or more": lambda outcome: outcome.executions > 1,
    "lost": lambda outcome: outcome.lost,
    "doubled": lambda outcome: outcome.doubled,
    "wrong end": lambda outcome: bool(outcome.wrong_end),
    "recorded again": lambda outcome: outcome.recorded_again,
}
NOTES: Final = """\
Ran once, never, 2 or more: kills after which the user's code ran so often, all restarts included.
Lost, doubled: log lines, custom messages and results that the successful attempt of the step lacks, or has twice.
Recorded again: results in the event log from other attempts, as of a step that was killed between its materialization
and its success. Dagster records those; no client can take them back, so they are no failure."""


def format_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table with a row for each implementation and phase, and their sums."""
    rows = []
    for implementation in ("ours", "stock"):
        own = [each for each in outcomes if each.case.implementation == implementation]
        rows += [_row(implementation, phase.value, [each for each in own if each.phase is phase]) for phase in Phase]
        rows.append(_row(implementation, "all", [each for each in own if each.phase]))
    return tabulate([row for row in rows if row[2]], headers=["client", "killed", *COLUMNS], tablefmt="github")


def _row(implementation: str, phase: str, outcomes: Iterable[Outcome]) -> list[str | int]:
    kept = list(outcomes)
    return [implementation, phase, *(sum(count(outcome) for outcome in kept) for count in COLUMNS.values())]
