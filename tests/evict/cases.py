"""Which process is killed, how, and where."""

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from tests.evict.boundaries import Role, Victim
from tests.evict.stack import Implementation

KILL: Final = signal.SIGKILL
TERM: Final = signal.SIGTERM
Strike = tuple[Victim, signal.Signals]


class Setup(Enum):
    """A job, and what the processes of its runs are killed with.

    Each run that then has failed, or has no worker, is re-executed from failure, or resumed. The daemon does it itself.
    """

    MULTIPROCESS = "multiprocess"
    OP_RETRIES = "op_retries"
    IN_PROCESS = "in_process"
    RESUMED = "resumed"
    DAEMON = "daemon"

    @property
    def job(self) -> str:
        """The name of its job."""
        return Setup.MULTIPROCESS.value if self in {Setup.RESUMED, Setup.DAEMON} else self.value


ALL_STRIKES: Final[Sequence[Strike]] = (
    ("step process", KILL),
    ("run worker", KILL),
    ("executor", KILL),
    ("step process", TERM),
    ("run worker", TERM),
    ("executor", TERM),
)
STRIKES: Final[Mapping[Setup, Sequence[Strike]]] = {
    Setup.MULTIPROCESS: ALL_STRIKES,
    Setup.OP_RETRIES: (("step process", KILL), ("step process", TERM)),
    Setup.IN_PROCESS: (("run worker", KILL), ("run worker", TERM)),
    # not the run worker alone with SIGKILL: on the platforms that resume runs, its steps die with it
    Setup.RESUMED: (("executor", KILL), ("executor", TERM), ("run worker", TERM)),
}
REPEATED: Final = ("GET", "a log line")
"""What the labels of boundaries have that come again and again."""
CrossedBoundaries = Mapping[Setup, Mapping[Role, Sequence[str]]]


@dataclass(frozen=True)
class Case:
    """One kill.

    Attributes:
        implementation: Whose client and function.
        setup: The job, and how it starts again.
        role: The process that counts the boundaries.
        boundary: The boundary, or empty for a point in time.
        delay: Seconds from the start of the POST, for a point in time.
        victim: What gets the signal.
        signum: The signal.
        pause: Seconds that the function is silent in the middle.
    """

    implementation: Implementation
    setup: Setup
    role: Role = "step process"
    boundary: str = ""
    delay: float | None = None
    victim: Victim = "step process"
    signum: int = KILL
    pause: float = 0.0

    def __str__(self) -> str:
        where = self.boundary if self.delay is None else f"{self.delay:.2f} s after the POST"
        name = signal.Signals(self.signum).name
        return f"{self.implementation} {self.setup.value}: {name} of the {self.victim}, {where} ({self.role})"


def boundary_cases(implementation: Implementation, crossed: CrossedBoundaries) -> list[Case]:
    """Return a case for each boundary of each setup, and for each victim and signal.

    There are many boundaries while the function runs: there, victims and signals take turns.
    """
    return [
        Case(implementation, setup, role, boundary, victim=victim, signum=signum)
        for setup, roles in crossed.items()
        for role, boundaries in roles.items()
        for number, boundary in enumerate(filter(_comes_each_time, boundaries))
        for victim, signum in _strikes(setup, role, boundary, number)
    ]


def _strikes(setup: Setup, role: Role, boundary: str, number: int) -> Sequence[Strike]:
    # the run worker's own boundaries: its step process may not run, and would not count them
    possible = [strike for strike in STRIKES[setup] if role == "step process" or strike[0] != "step process"]
    repeated = any(label in boundary for label in REPEATED)
    return [possible[number % len(possible)]] if possible and repeated else possible


def _comes_each_time(boundary: str) -> bool:
    """Leave out the third poll for a chunk and those that follow it: their number depends on the machine's load."""
    return "GET" not in boundary or boundary.endswith(("#1", "#2"))


def timed_cases(implementation: Implementation, count: int, seed: int) -> Iterable[Case]:
    """Return cases at random times while a function with heartbeats runs."""
    random = Random(seed)
    for _ in range(count):
        setup = random.choice([Setup.MULTIPROCESS, Setup.OP_RETRIES, Setup.IN_PROCESS])
        victim, signum = random.choice(STRIKES[setup])
        delay = random.uniform(0, 4)
        yield Case(implementation, setup, delay=delay, victim=victim, signum=signum, pause=2.5)


def daemon_cases() -> list[Case]:
    """Return cases after which the daemon retries the run.

    It does not notice a run worker that is killed with SIGKILL: `DefaultRunLauncher` does not look at run workers.
    """
    strikes: Sequence[Strike] = (("step process", KILL), ("step process", TERM), ("run worker", TERM))
    boundaries = ("the POST is sent #1", "before a log line #8", "`run` returned #1")
    return [
        Case("ours", Setup.DAEMON, boundary=boundary, victim=victim, signum=signum)
        for boundary, (victim, signum) in zip(boundaries, strikes, strict=True)
    ]


def spread(cases: Sequence[Case], count: int, shift: int) -> list[Case]:
    """Return so many of the cases, evenly spread. Another `shift` takes their neighbours."""
    chosen = range(min(count, len(cases)))
    return [cases[(number * len(cases) // len(chosen) + shift) % len(cases)] for number in chosen]
