"""The list of the cases."""

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from tests.cases import AREAS
from tests.cases.case import Case


def _cases_of(area: str) -> Iterator[Case]:
    """Yield the cases of a module in their order there."""
    module = import_module(f"tests.cases.{area}")
    yield from (each for each in vars(module).values() if isinstance(each, Case))


CASES: Final = tuple(each for area in AREAS for each in _cases_of(area))
"""All cases, in the order of the documentation."""
