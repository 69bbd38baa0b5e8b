"""Each half works with the other half of the commit before this one, and of the oldest commit of its protocol."""

import json
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator
from dagster_gcf_pipes.local._functions import start_function
from tests.conftest import FUNCTIONS
from tests.faults.plan import CALL, Duplicate, Fault
from tests.faults.proxy import FaultProxy
from tests.skew.installations import UnavailableError, install
from tests.waiting import wait_until

EARLIER = {"the commit before": "HEAD^", "the oldest commit": "885b81a6909aa3db3b4062801a37c2c036504ed0"}
CALLS = Path(__file__).with_name("calls.py")
TIMEOUT = 120
"""Seconds for all calls of one side."""
REPORTED: dict[str, Any] = {"success": True, "failure": None, "logged": 1, "fixes": []}
FAILED: dict[str, Any] = {"success": False, "logged": 0, "extras": [], "fixes": []}
EXPECTED: dict[str, Any] = {
    "calls": {
        "success": {**REPORTED, "extras": [11]},
        "exception": {**FAILED, "failure": "The function raised ValueError: the table is broken"},
        "output": {**REPORTED, "extras": [2]},
        "large context": {**REPORTED, "extras": [2_000_012]},
        "delivered twice": {**REPORTED, "extras": [2]},
        "cancel": {**FAILED, "failure": None},
    },
    "printed": 1,
}


@pytest.fixture(scope="module", params=EARLIER.values(), ids=[*EARLIER])
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the packages of an earlier commit."""
    try:
        return install(request.param, tmp_path_factory.mktemp("earlier"))
    except UnavailableError as reason:
        pytest.skip(str(reason))


@dataclass(frozen=True)
class Found:
    """What calls between two environments have shown.

    Attributes:
        of_dagster: What Dagster has of each call.
        cases: The case of each execution of the function.
        packages: The places of `dagster_gcf_pipes` and `gcf_pipes`.
    """

    of_dagster: dict[str, Any]
    cases: list[str]
    packages: list[str]


def calls_between(dagster: str, function: str, emulator: Emulator) -> Found:
    """Run the function in one environment, and call it from the other."""
    with closing(storage.Client(project="local")) as client:
        bucket = client.create_bucket(f"bucket-{uuid.uuid4().hex}")
        with start_function(FUNCTIONS / "skew", emulator_url=emulator.url, python=[function]) as server:
            server.child.wait_until_ready()
            with FaultProxy(server.url, [Fault(CALL, Duplicate(answer="second"))]) as proxy:
                command = [dagster, str(CALLS), server.url, proxy.url, bucket.name]
                result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            assert result.returncode == 0, result.stderr
            wait_until(bucket.blob("cancelled").exists)
        executions = list(bucket.list_blobs(prefix="executions/"))
        packages = {blob.download_as_text() for blob in executions}
    of_dagster = json.loads(result.stdout)
    cases = sorted(blob.name.split("/")[1] for blob in executions)
    return Found(of_dagster, cases, [of_dagster.pop("package"), *packages])


def test_halves_work_together(emulator: Emulator, earlier: Path) -> None:
    """In both directions, at once: most of the time is a wait for the function to see its cancellation."""
    now, before = sys.executable, str(earlier / "bin/python")
    with ThreadPoolExecutor(2) as pool:
        pairs = [pool.submit(calls_between, *pair, emulator) for pair in ((now, before), (before, now))]
    for found in (pair.result() for pair in pairs):
        assert found.of_dagster == EXPECTED
        assert found.cases == sorted(EXPECTED["calls"])
    are_earlier = [[Path(place).is_relative_to(earlier) for place in pair.result().packages] for pair in pairs]
    assert are_earlier == [[False, True], [True, False]]
