"""What a check finds, and how an error becomes a finding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gcf_pipes import GcfPipesError
from gcf_pipes._shared.deadline import Deadline

from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._logging_api import LogReadingError

CHECK_TIMEOUT: Final = 60.0
"""Seconds that one check may take, however slow the other side is."""
MAX_TEXT: Final = 2000
"""Characters of a text, which may come from a server."""
_FIX: Final = "\nFix: "


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: The name of the check.
        status: "ok"; "problem"; or "skipped", if the check could not be made.
        text: What was found, in one line.
        fix: What to do about a problem, or an empty text.
    """

    check: str
    status: Literal["ok", "problem", "skipped"]
    text: str
    fix: str = ""


class ProblemError(Exception):
    """A check found a problem. The text ends with a line that starts with `Fix: `."""


class SkippedError(Exception):
    """A check could not be made. The text says why."""


def find(check: str, make: Callable[[], str]) -> Finding:
    """Make a check.

    Args:
        check: Its name.
        make: Returns what is right, or raises.
    """
    try:
        return Finding(check, "ok", _one_line(Deadline(CHECK_TIMEOUT).run(make)))
    except SkippedError as reason:
        return Finding(check, "skipped", _one_line(str(reason)))
    except PipesCloudFunctionError as error:
        return _problem(check, error.description or "")
    except (ProblemError, GcfPipesError, LogReadingError, TimeoutError) as error:
        return _problem(check, str(error))
    except Exception as error:  # noqa: BLE001 - one check that fails must not keep the others from being made
        return _problem(check, _unexpected(error))


def _unexpected(error: Exception) -> str:
    """Describe an error that no check expects. Most texts are not shown: Google's libraries put tokens into theirs."""
    if isinstance(error, OSError) and isinstance(error.filename, str):  # such as a credentials file
        return f"{error.filename} cannot be read: {error.strerror}."
    return f"The check itself failed with {type(error).__module__}.{type(error).__qualname__}."


def _problem(check: str, text: str) -> Finding:
    problem, _, fix = text.partition(_FIX)
    return Finding(check, "problem", _one_line(problem), _one_line(fix))


def _one_line(text: str) -> str:
    """Return a text without line breaks, and without characters that control a terminal."""
    line = " ".join(text.split())
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= MAX_TEXT else f"{printable[:MAX_TEXT]}..."
