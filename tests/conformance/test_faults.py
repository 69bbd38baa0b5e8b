"""What the command cannot do itself: acknowledgements of uploads get lost, and the function conforms all the same."""

import pytest

from dagster_gcf_pipes._conformance.requirements import REQUIREMENTS
from dagster_gcf_pipes.local import Emulator
from tests.conformance.test_conformance import findings_of, named
from tests.conftest import FUNCTIONS
from tests.faults.plan import UPLOAD, Fault, ResetAfter
from tests.faults.stack import run_proxied_stack

SOME_UPLOADS = range(2, 1000, 5)


def test_a_lost_acknowledgement_of_a_chunk_changes_nothing(emulator: Emulator) -> None:
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    lost = Fault(UPLOAD, ResetAfter(), at=SOME_UPLOADS, minimum=10)
    with run_proxied_stack(emulator, FUNCTIONS / "conformance" / "main.py", {"writer": [lost]}) as stack:
        code, findings = findings_of(stack.function.url, "--bucket", stack.bucket, "--stop-within", "20")
    assert (code, named(findings, "failed")) == (0, set()), findings
    assert len(named(findings, "ok")) == len(REQUIREMENTS) - 1  # the function accepts every bucket
