"""Runs the cases that apply to the subject of a module: each is a test with the name of the case.

The cases are plain functions in modules of their own. Their assertions say what they compare, as those of tests.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dagster_gcf_pipes.local import Emulator
from tests.cases import AREAS

if TYPE_CHECKING:
    from tests.cases.stage import Stage

pytest.register_assert_rewrite(*(f"tests.cases.{area}" for area in AREAS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        from tests.cases.catalogue import CASES  # not before the call above

        cases = [case for case in CASES if case.why_not(metafunc.module.SUBJECT) is None]
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


@pytest.fixture(scope="module")
def parts(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator["Stage"]:
    """What the cases of a module share."""
    from tests.cases.case import NODEJS
    from tests.cases.subjects import run_stage
    from tests.nodejs import why_no_nodejs

    subject = request.module.SUBJECT
    if subject.language == NODEJS and (reason := why_no_nodejs()):
        pytest.skip(reason)
    with run_stage(subject, emulator) as stage:
        yield stage


@pytest.fixture
def stage(parts: "Stage", tmp_path: Path) -> "Stage":
    """What a case has for itself."""
    return replace(parts, folder=tmp_path)
