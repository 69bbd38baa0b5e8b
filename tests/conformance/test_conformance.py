"""`dagster-gcf-pipes conformance`: what conforms passes, and each defect makes its own lines fail."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flask
import pytest
from click.testing import CliRunner

from dagster_gcf_pipes._cli import main
from dagster_gcf_pipes._conformance.requirements import REQUIREMENTS
from dagster_gcf_pipes.local import EMBEDDED, Emulator, run_emulator, run_function
from tests.conformance.by_hand import function_by_hand
from tests.conftest import FUNCTIONS
from tests.serving import serving

COMMAND = [sys.executable, "-m", "dagster_gcf_pipes", "conformance"]
FAST = ["--stop-within", "6"]
OF_CLAIM = ["claim-once", "claim-late", "claim-taken"]
NEEDS_PRECONDITIONS = {*OF_CLAIM, "chunk-once", "chunk-lost"}
DEFECTS: list[Mapping[str, list[str]]] = [
    {
        "claims_late": ["claim-first", "claim-taken", "cancel", "shared-cancel"],
        "reverses": ["message-order"],
        "loses_lines": ["burst"],
        "mixes_calls": ["isolation"],
        "has_no_cause": ["exception"],
        "reports_no_status": ["own-status", "own-conflict"],
        "takes_no_context": ["refuses-missing-keys"],
        "says_two_versions": ["versions"],
    },
    {
        "claims_twice": OF_CLAIM,
        "no_newline": ["chunk-format"],
        "reads_latin_1": ["context-unicode"],
        "takes_any_encoding": ["refuses-encoding"],
        "keeps_output": ["forward-logs"],
    },
    {
        "claims_alike": ["claim-unique", "claim-once", "claim-late"],
        "loses_chunks": ["chunk-lost"],
        "forgets_ranges": ["context-fields"],
        "checks_no_types": ["refuses-params"],
        "never_beats": ["heartbeats"],
    },
    {
        "answers_duplicates_with_200": OF_CLAIM,
        "skips_a_number": ["chunk-numbers", "chunk-lost"],
        "requires_fields": ["context-missing"],
        "takes_any_pipes": ["refuses-pipes-version"],
        "ignores_shared_marker": ["shared-cancel"],
    },
    {
        "overwrites": ["chunk-once"],
        "miscounts": ["chunk-count"],
        "drops_debug": ["logs"],
        "one_chunk": ["burst"],
        "takes_bombs": ["refuses-bomb"],
        "takes_lists": ["refuses-body"],
        "ignores_marker": ["cancel"],
    },
    {
        "no_message": ["chunk-format"],
        "opens_twice": ["opened-first"],
        "no_context_objects": ["context-object"],
        "small_contexts": ["context-large"],
        "wraps_responses": ["own-response"],
        "takes_any_protocol": ["refuses-protocol"],
        "chooses_its_status": ["exception-status"],
    },
    {
        "leaves_params_out": ["chunk-format", "materialization"],
        "writes_after_closed": ["closed-last"],
        "has_no_stack": ["exception"],
        "closes_with_text": ["closes-with-request"],
        "takes_any_capability": ["refuses-capability"],
        "takes_get": ["refuses-get"],
    },
    {
        "writes_after_response": ["sealed"],
        "reports_wrong_metadata": ["materialization"],
        "is_severe": ["asset-check"],
        "keeps_long_responses": ["closed-response"],
        "sends_texts": ["custom-message"],
        "takes_conflicts_for_duplicates": ["own-conflict"],
        "crashes_at_storage": ["refuses-storage"],
        "stops_in_silence": ["cancel", "shared-cancel", "deadline"],
    },
    {
        "counts_nothing": ["chunk-count", "exception-status", "own-conflict"],
        "measures_in_words": ["closed-usage"],
        "keeps_another_response": ["closed-response"],
        "crashes_at_buckets": ["refuses-bucket"],
        "says_no_reason": ["refusal-text"],
    },
    {"never_closes": ["closed-last", "exception", "own-status", "own-conflict", "cancel", "shared-cancel", "deadline"]},
]
"""Defects that do not meet, with the requirements that each of them breaks."""


@pytest.fixture(autouse=True)
def _emulator_with_preconditions(emulator: Emulator) -> None:
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")


def findings_of(url: str, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code and the findings, by requirement."""
    result = CliRunner().invoke(main, ["conformance", "--url", url, "--json", *FAST, *arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, {finding["requirement"]: finding for finding in json.loads(result.stdout)}


def named(findings: Mapping[str, Mapping[str, Any]], status: str) -> set[str]:
    return {name for name, finding in findings.items() if finding["status"] == status}


def run_command(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONWARNINGS": "ignore", **env}
    return subprocess.run([*COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=240, check=False)


def test_the_function_with_gcf_pipes_conforms(emulator: Emulator, bucket: str) -> None:
    env = {"GCF_PIPES_BUCKETS": bucket, "GCF_PIPES_KEY_PREFIX": "dagster-pipes"}
    with run_function(FUNCTIONS / "conformance" / "main.py", emulator_url=emulator.url, env=env) as server:
        result = run_command("--url", server.url, "--bucket", bucket)
    lines = [line for line in result.stdout.splitlines() if not line.startswith("ok ")]
    assert lines == [f"{len(REQUIREMENTS)} ok"], result.stdout
    assert result.returncode == 0
    assert not result.stderr


def test_a_function_that_anyone_can_write_from_the_page_conforms(bucket: str) -> None:
    with function_by_hand() as url:
        code, findings = findings_of(url, "--bucket", bucket, "--key-prefix", "some/prefix")
    assert code == 0, findings
    assert list(findings) == [requirement.name for requirement in REQUIREMENTS]
    assert named(findings, "not_there") == {"refuses-bucket"}
    assert len(named(findings, "ok")) == len(REQUIREMENTS) - 1


def test_a_function_may_lack_every_optional_part() -> None:
    """But not what the tasks themselves need."""
    with function_by_hand("says_nothing", "ignores_deadline") as url:
        code, findings = findings_of(url)
    assert code == 0, findings
    assert {"heartbeats", "deadline", "versions", "closed-usage", "shared-cancel"} < named(findings, "not_there")
    assert not any(findings[name]["required"] for name in named(findings, "not_there"))


@pytest.mark.parametrize("defects", DEFECTS, ids=lambda defects: next(iter(defects)))
def test_each_defect_breaks_its_own_requirements(defects: Mapping[str, list[str]]) -> None:
    with function_by_hand(*defects) as url:
        code, findings = findings_of(url)
    assert named(findings, "failed") == {name for names in defects.values() for name in names}
    assert code == 1
    for name in named(findings, "failed"):
        assert "xpected" in findings[name]["text"]
        assert findings[name]["fix"]


def test_there_is_a_defect_for_every_requirement() -> None:
    broken = {name for defects in DEFECTS for names in defects.values() for name in names}
    assert {requirement.name for requirement in REQUIREMENTS} - broken == set()


def test_a_failed_line_says_what_was_expected_and_what_to_do() -> None:
    with function_by_hand("takes_get") as url:
        result = run_command("--url", url, *FAST)
    assert result.returncode == 1
    assert (
        "FAILED     refuses-get: Expected HTTP 400, Dagster-Pipes-Error: bad_request, Dagster-Pipes-Chunk-Count: 0 for "
        "a GET, got HTTP 200 with the body 'hello'.\n"
        "           The function: It refuses a GET\n"
        "           Fix: Refuse every method but POST.\n"
    ) in result.stdout
    assert result.stdout.endswith(f"{len(REQUIREMENTS) - 2} ok, 1 FAILED, 1 not there\n")


def test_an_emulator_that_ignores_preconditions_cannot_show_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_emulator(EMBEDDED) as emulator, function_by_hand() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
        code, findings = findings_of(url)
    assert named(findings, "skipped") == NEEDS_PRECONDITIONS
    assert named(findings, "failed") == set()
    assert code == 1


def test_a_function_that_does_not_run_is_an_error() -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        result = run_command("--url", f"http://127.0.0.1:{port.getsockname()[1]}/")
    assert result.returncode == 1
    assert "Expected the function to take a call, but it was not sent" in result.stderr
    assert "Fix: Start the function" in result.stderr


def test_a_server_that_knows_nothing_of_the_protocol_is_not_a_function() -> None:
    """Each required line fails, and no optional one is taken for there."""
    app = flask.Flask("another")
    app.add_url_rule("/", methods=["GET", "POST"], view_func=lambda: "hello")
    with serving(app) as port:
        code, findings = findings_of(f"http://127.0.0.1:{port}/")
    assert named(findings, "ok") == set()
    assert {name for name, finding in findings.items() if finding["required"]} <= named(findings, "failed")
    assert code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--url", "orders"],
        ["--url", "http://127.0.0.1:1/", "--bucket", "gs://lake"],
        ["--url", "http://127.0.0.1:1/", "--stop-within", "0"],
    ],
)
def test_an_option_that_is_not_valid_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["conformance", *arguments])
    assert result.exit_code == 2, result.output


def test_a_function_in_the_cloud_needs_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    result = CliRunner().invoke(main, ["conformance", "--url", "https://orders-ab12-ew.a.run.app/"])
    assert result.exit_code == 2
    assert "Fix: Add --bucket NAME." in result.output


def test_the_page_names_every_requirement() -> None:
    """In its text: the table of all is generated."""
    page = (Path(__file__).parents[2] / "docs/protocol.md").read_text()
    assert [each.name for each in REQUIREMENTS if f"`{each.name}`" not in page] == []
