"""What a check of one requirement finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gcf_pipes import GcfPipesError

from dagster_gcf_pipes._conformance.requirements import Requirement
from dagster_gcf_pipes._errors import PipesCloudFunctionError

Status: TypeAlias = Literal["ok", "failed", "not_there", "skipped"]
Check: TypeAlias = Callable[[], str]
"""Returns what holds, in a few words, or raises one of the errors below."""
Checks: TypeAlias = Mapping[str, Check]
"""Checks by the names of their requirements."""
MAX_TEXT: Final = 2000
"""Characters of a text, which may come from the function."""


class NotMetError(Exception):
    """The function does not meet a requirement. The text says what was expected, what came, and where."""


class NotThereError(Exception):
    """The function lacks an optional part. The text says by what that shows."""


class SkippedError(Exception):
    """The requirement could not be checked. The text says why."""


@dataclass(frozen=True)
class Finding:
    """What is known of one requirement.

    Attributes:
        requirement: The requirement.
        status: "ok"; "failed"; "not_there", if the function lacks an optional part; or "skipped", if it was not
            checked.
        text: What was found, in one line.
        fix: What to do about it, or an empty text.
    """

    requirement: Requirement
    status: Status
    text: str
    fix: str = ""

    @property
    def holds(self) -> bool:
        """Whether the function conforms, as far as this requirement goes."""
        return self.status in {"ok", "not_there"} or (self.status == "skipped" and not self.requirement.required)


def find(requirement: Requirement, check: Check) -> Finding:
    """Make a check."""
    try:
        return Finding(requirement, "ok", _one_line(check()))
    except NotThereError as error:
        if requirement.required:
            return Finding(requirement, "failed", _one_line(str(error)), requirement.fix)
        return Finding(requirement, "not_there", _one_line(str(error)), requirement.fix)
    except SkippedError as error:
        return Finding(requirement, "skipped", _one_line(str(error)))
    except NotMetError as error:
        return Finding(requirement, "failed", _one_line(str(error)), requirement.fix)
    except (GcfPipesError, PipesCloudFunctionError, TimeoutError) as error:
        text, _, fix = str(error).partition("\nFix: ")
        return Finding(requirement, "failed", _one_line(text), _one_line(fix))


def expect(condition: object, expected: str, got: object, where: str = "") -> None:
    """Raise unless a condition holds.

    Raises:
        NotMetError: It does not hold.
    """
    if not condition:
        place = f", at {where}" if where else ""
        raise NotMetError(f"Expected {expected}, got {got}{place}.")


def _one_line(text: str) -> str:
    """Return a text without line breaks, and without characters that control a terminal."""
    line = " ".join(text.split())
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= MAX_TEXT else f"{printable[:MAX_TEXT]}..."
