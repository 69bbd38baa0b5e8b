"""Each case runs for each subject to which it applies."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dagster_gcf_pipes.local import Emulator
from tests.cases.case import NODEJS, SUBJECTS, Case
from tests.cases.catalogue import CASES
from tests.cases.nodejs import why_no_nodejs
from tests.cases.stage import Stage
from tests.cases.subjects import run_stage


@pytest.fixture(scope="module")
def parts(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[Stage]:
    if request.param.language == NODEJS and (reason := why_no_nodejs()):
        pytest.skip(reason)
    with run_stage(request.param, emulator) as stage:
        yield stage


@pytest.fixture
def stage(parts: Stage, tmp_path: Path) -> Stage:
    return replace(parts, folder=tmp_path)


def applying() -> list[object]:
    """Return the cases of each subject, with their names."""
    return [
        pytest.param(subject, case, id=f"{subject.id}: {case.name}")
        for subject in SUBJECTS
        for case in CASES
        if case.why_not(subject) is None
    ]


@pytest.mark.parametrize(("parts", "case"), applying(), indirect=["parts"], scope="module")
def test_case(stage: Stage, case: Case) -> None:
    case.run(stage)


def test_the_list_names_each_case_once_and_says_what_it_shows() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)
    assert [case.name for case in CASES if not case.shows.endswith(".")] == []


def test_a_reason_names_a_language_or_a_channel_of_a_subject() -> None:
    """A misspelt one would make the case run where it does not apply."""
    known = {name for subject in SUBJECTS for name in (subject.language, subject.channel)}
    assert {name for case in CASES for name in case.not_on} <= known
