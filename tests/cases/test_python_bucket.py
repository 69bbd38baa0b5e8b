"""The cases for functions in Python whose messages take a bucket."""

from typing import Final

from tests.cases.case import Case, Subject
from tests.cases.stage import Stage

SUBJECT: Final = Subject("Python", "bucket")


def test_case(stage: Stage, case: Case) -> None:
    case.run(stage)
