"""The Node.js half conforms too."""

import shutil
from pathlib import Path

import pytest

from dagster_gcf_pipes._conformance.requirements import REQUIREMENTS
from dagster_gcf_pipes.local import Emulator
from tests.conformance.test_conformance import findings_of, named
from tests.nodejs import PACKAGE, serve_nodejs, why_no_nodejs


def test_the_function_in_nodejs_conforms(emulator: Emulator, bucket: str, tmp_path: Path) -> None:
    if reason := why_no_nodejs():
        pytest.skip(reason)
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    source = Path(shutil.copy(PACKAGE / "conformance" / "index.mjs", tmp_path))
    env = {"STORAGE_EMULATOR_HOST": emulator.url, "GCF_PIPES_BUCKETS": bucket}
    with serve_nodejs(source, target="main", env=env) as function:
        code, findings = findings_of(function.ready, "--bucket", bucket, "--stop-within", "20")
    assert (code, named(findings, "failed")) == (0, set()), findings
    assert len(named(findings, "ok")) == len(REQUIREMENTS)
