"""Every fault at every place, with a function in Node.js."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagster_gcf_pipes.local import FunctionServer, available_emulators, run_emulator
from tests.faults.matrix import CASES, Case
from tests.faults.stack import ONE_MESSAGE_PER_CHUNK, ProxiedStack, run_proxied_stack
from tests.faults.test_matrix import check
from tests.nodejs import serve_nodejs, why_no_nodejs


@contextmanager
def serve_copy(source: Path, storage_url: str) -> Iterator[FunctionServer]:
    """Run the function in a folder that may get the package."""
    with tempfile.TemporaryDirectory(prefix="gcf-pipes-") as folder:
        copy = Path(shutil.copy(source, folder))
        with serve_nodejs(copy, target="main", env={"STORAGE_EMULATOR_HOST": storage_url}) as child:
            yield FunctionServer(source, child)


@pytest.fixture(scope="module")
def stack() -> Iterator[ProxiedStack]:
    if reason := why_no_nodejs():
        pytest.skip(reason)
    source = ONE_MESSAGE_PER_CHUNK.with_name("index.mjs")
    with (
        run_emulator(available_emulators()[0]) as emulator,
        run_proxied_stack(emulator, source, serve=serve_copy) as stack,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr("dagster_gcf_pipes._attempts.RESPONSE_TIMEOUT", 3.0)  # for a response that never comes
        yield stack


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_fault_loses_doubles_and_leaves_nothing(stack: ProxiedStack, case: Case) -> None:
    check(stack, case)
