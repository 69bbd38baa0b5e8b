"""The parts of `doctor` that ask nobody."""

import threading
from pathlib import Path
from typing import Any

import pytest

from dagster_gcf_pipes._doctor import findings
from dagster_gcf_pipes._doctor.bucket_checks import deletes_all_below
from dagster_gcf_pipes._doctor.findings import ProblemError, find
from dagster_gcf_pipes._doctor.function_checks import threads_of


@pytest.mark.parametrize(
    ("action", "condition", "deletes"),
    [
        ("Delete", {"age": 3, "matchesPrefix": ["dagster-pipes/"]}, True),
        ("Delete", {"age": 3, "matchesPrefix": ["another/", "dagster-"]}, True),
        ("Delete", {"age": 3}, True),
        ("Delete", {"age": 3, "isLive": True}, True),
        ("Delete", {"age": 0}, False),
        ("Delete", {"age": 3, "isLive": False}, False),
        ("Delete", {"age": 3, "matchesPrefix": ["dagster-pipes/run/"]}, False),
        ("Delete", {"age": 3, "matchesPrefix": ["dagster-pipes-2/"]}, False),
        ("Delete", {"age": 3, "matchesSuffix": [".tmp"]}, False),
        ("Delete", {"createdBefore": "2020-01-01"}, False),
        ("SetStorageClass", {"age": 3}, False),
    ],
)
def test_which_lifecycle_rule_deletes_old_messages(action: str, condition: dict[str, Any], *, deletes: bool) -> None:
    assert deletes_all_below({"action": {"type": action}, "condition": condition}, "dagster-pipes") is deletes


@pytest.mark.parametrize(
    ("variables", "cpu", "threads"),
    [
        ({}, "1", 4),
        ({}, "2", 8),
        ({}, "0.1666", 4),
        ({}, "", 4),
        ({"THREADS": "16"}, "2", 16),
        ({"THREADS": "16", "WORKERS": "2"}, "2", 32),
        ({"THREADS": ""}, "1000m", 4),
    ],
)
def test_threads_of_an_instance(variables: dict[str, str], cpu: str, threads: int) -> None:
    assert threads_of(variables, cpu) == threads


def raises(error: Exception) -> str:
    raise error


def test_a_check_that_takes_too_long_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "CHECK_TIMEOUT", 0.01)
    never = threading.Event()
    found = find("access", lambda: str(never.wait()))
    never.set()
    assert (found.status, found.text) == ("problem", "there was no response within 0.01 s")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    found = find("identity", tmp_path.read_text)
    assert found.text == f"{tmp_path} cannot be read: Is a directory."


def test_an_unexpected_error_is_a_problem_without_its_text() -> None:
    found = find("access", lambda: raises(KeyError("a token")))
    assert (found.status, found.text) == ("problem", "The check itself failed with builtins.KeyError.")


def test_a_text_of_a_server_cannot_control_the_terminal() -> None:
    found = find("access", lambda: raises(ProblemError("It says: \x1b[2J\r\u202e" + "x" * 9999 + "\nFix: Call\n9")))
    assert found.text.startswith("It says: ?[2J ?xxx")
    assert len(found.text) < 2010
    assert found.fix == "Call 9"
