"""The list, and so the table in the documentation, says what runs."""

from importlib import import_module
from pathlib import Path

from tests.cases.case import SUBJECTS
from tests.cases.catalogue import CASES


def test_each_case_has_a_name_of_its_own_and_says_what_it_shows() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)
    assert [case.name for case in CASES if not case.shows.endswith(".")] == []


def test_a_reason_names_a_language_or_a_channel_of_a_subject() -> None:
    """A misspelt one would make the case run where it does not apply."""
    known = {name for subject in SUBJECTS for name in (subject.language, subject.channel)}
    assert {name for case in CASES for name in case.not_on} <= known


def test_each_case_applies_to_a_subject() -> None:
    assert [case.name for case in CASES if all(case.why_not(subject) for subject in SUBJECTS)] == []


def test_each_subject_has_a_module_that_runs_its_cases() -> None:
    """The modules run in parallel: each has its own processes."""
    names = [path.stem for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)]
    modules = [import_module(f"tests.cases.{name}") for name in names]
    assert {module.SUBJECT for module in modules} == set(SUBJECTS)
    assert len(modules) == len(SUBJECTS)
