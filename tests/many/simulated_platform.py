"""A Cloud Storage and a function for thousands of calls, in one process of their own.

    with run_simulated_platform(max_running=100) as platform:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", platform.storage_url)
        platform.create_bucket("messages")
        client = PipesCloudFunctionClient(bucket="messages")
        ...                                            # call platform.function_url with an `Event`
        assert platform.figures().most_in_a_second("LIST") <= 3

`tests.many.events.Event` says what a call can do, `tests.many.options.Options` how the platform can behave, and
`tests.many.figures.Figures` what it counts.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from dagster_gcf_pipes.local._processes import python_command, run_process
from tests.many.figures import Figures
from tests.many.options import Options

REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 60.0


@dataclass(frozen=True)
class SimulatedPlatform:
    """The running platform.

    Attributes:
        storage_url: The value for `STORAGE_EMULATOR_HOST`.
    """

    storage_url: str

    @property
    def function_url(self) -> str:
        return f"{self.storage_url}/function"

    def create_bucket(self, name: str) -> None:
        """Create a bucket. As on the real one, requests for a bucket that does not exist get 404."""
        url = f"{self.storage_url}/storage/v1/b"
        requests.post(url, json={"name": name}, timeout=TIMEOUT).raise_for_status()

    def figures(self) -> Figures:
        """Return what was counted since the start or the last reset."""
        return Figures.from_json(requests.get(f"{self.storage_url}/_stats", timeout=TIMEOUT).json())

    def reset(self) -> None:
        """Count from zero. The objects stay."""
        requests.post(f"{self.storage_url}/_reset", timeout=TIMEOUT).raise_for_status()


@contextmanager
def run_simulated_platform(**options: Any) -> Iterator[SimulatedPlatform]:
    """Run the platform on a free port while the block runs.

    Args:
        options: The fields of `Options`.
    """
    command = python_command("-m", "tests.many.server", json.dumps(asdict(Options(**options))))
    env = {"PYTHONPATH": os.fspath(REPOSITORY)}
    with run_process(
        command, ready=r"listening at (http://\S+)", env=env, cwd=REPOSITORY, stop_signal=signal.SIGKILL
    ) as child:
        yield SimulatedPlatform(child.ready)
