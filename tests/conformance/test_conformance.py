"""`dagster-gcf-pipes conformance`: what conforms passes, and each defect makes its own lines fail."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from click.testing import CliRunner

from dagster_gcf_pipes._cli import main
from dagster_gcf_pipes._conformance.requirements import REQUIREMENTS
from dagster_gcf_pipes.local import Emulator, run_function
from tests.conftest import FUNCTIONS

COMMAND = [sys.executable, "-m", "dagster_gcf_pipes", "conformance"]
FAST = ["--stop-within", "6"]
CLAIM = ["claim-once", "claim-late", "claim-taken"]
DEFECTS: list[Mapping[str, list[str]]] = [
    {
        "skips_a_number": ["chunk-numbers"],
        "drops_debug": ["logs"],
        "is_severe": ["asset-check"],
        "sends_texts": ["custom-message"],
        "wraps_responses": ["own-response"],
        "takes_get": ["refuses-get"],
        "never_beats": ["heartbeats"],
        "has_no_cause": ["exception"],
        "small_contexts": ["context-large"],
        "takes_conflicts_for_duplicates": ["own-conflict"],
        "keeps_another_response": ["closed-response"],
    },
]
"""Groups of defects that do not meet, with the requirements that each of them breaks."""


def findings_of(url: str, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code and the findings, by requirement."""
    result = CliRunner().invoke(main, ["conformance", "--url", url, "--json", *FAST, *arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, {finding["requirement"]: finding for finding in json.loads(result.stdout)}


def test_the_function_with_gcf_pipes_conforms(emulator: Emulator) -> None:
    with run_function(FUNCTIONS / "conformance" / "main.py", emulator_url=emulator.url) as server:
        env = {**os.environ, "PYTHONWARNINGS": "ignore"}
        command = [*COMMAND, "--url", server.url]
        result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert "FAILED" not in result.stdout, result.stdout
    assert [line.split()[1].rstrip(":") for line in result.stdout.splitlines() if line.startswith("ok")] == [
        requirement.name for requirement in REQUIREMENTS if requirement.name != "refuses-bucket"
    ]
    assert result.returncode == 0
