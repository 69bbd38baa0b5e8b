"""What a case is: an end-to-end run, what it shows, and where it does not apply."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, overload

if TYPE_CHECKING:
    from tests.cases.stage import Stage

    Run = Callable[[Stage], None]

Language = Literal["Python", "Node.js"]
Channel = Literal["bucket", "logging", "response"]

NODEJS: Final = "Node.js"
BUCKET: Final = "bucket"
LOGGING: Final = "logging"
RESPONSE: Final = "response"


@dataclass(frozen=True)
class Subject:
    """What a case runs against: a function in a language, whose messages take a channel."""

    language: Language
    channel: Channel

    @property
    def title(self) -> str:
        """Its name in the documentation."""
        return f"{self.language}, {self.channel}"


SUBJECTS: Final = (
    Subject("Python", "bucket"),
    Subject("Node.js", "bucket"),
    Subject("Python", "logging"),
    Subject("Python", "response"),
)
"""All subjects, in the order of the columns in the documentation."""


@dataclass(frozen=True)
class Case:
    """An end-to-end run.

    Attributes:
        name: Its name, also in the tests.
        area: What it is about.
        shows: What it shows, in one sentence.
        run: Makes the run, and checks what Dagster shows.
        not_on: Why it does not apply to a language or a channel, by their names.
    """

    name: str
    area: str
    shows: str
    run: "Run" = field(repr=False)
    not_on: Mapping[str, str] = field(default_factory=dict)

    def why_not(self, subject: Subject) -> str | None:
        """Why it does not apply to a subject, or None if it does."""
        return self.not_on.get(subject.channel) or self.not_on.get(subject.language)


@overload
def case(run: "Run", /) -> Case: ...


@overload
def case(*, not_on: Mapping[str, str]) -> "Callable[[Run], Case]": ...


def case(run: "Run | None" = None, /, *, not_on: Mapping[str, str] | None = None) -> "Case | Callable[[Run], Case]":
    """Make a function a case. Its name is that of the case, its module the area, its docstring what the case shows."""

    def decorate(run: "Run") -> Case:
        area = run.__module__.rpartition(".")[2]
        shows = (run.__doc__ or "").partition("\n")[0]
        return Case(run.__name__.replace("_", " "), area.replace("_", " "), shows, run, dict(not_on or {}))

    return decorate(run) if run else decorate
