"""The list of the cases."""

from types import ModuleType
from typing import Final

from tests.cases import (
    contexts,
    crashes,
    duplicates,
    ends,
    errors,
    faults,
    isolation,
    limits,
    messages,
    output,
    responses,
)
from tests.cases.case import Case

AREAS: Final = (
    contexts,
    messages,
    output,
    responses,
    errors,
    isolation,
    ends,
    crashes,
    duplicates,
    faults,
    limits,
)


def cases_of(module: ModuleType) -> list[Case]:
    """Return the cases of a module in their order there."""
    return [each for each in vars(module).values() if isinstance(each, Case)]


CASES: Final = tuple(each for module in AREAS for each in cases_of(module))
