"""A real `dg dev`, an emulator and a function: as `just dev`, or with other definitions."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from dagster_gcf_pipes.local._processes import (
    ChildProcess,
    python_command,
    run_on_free_port,
    run_process,
    wait_until_listening,
)

ROOT = Path(__file__).parent.parent
EXAMPLE = f"example={ROOT / 'cloud_function'}"


@dataclass(frozen=True)
class Dagster:
    """A running `dg dev`.

    Attributes:
        process: The process of `dagster-gcf-pipes dev`, whose output has that of the function.
    """

    process: ChildProcess

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the data of a GraphQL response."""
        url = f"{self.process.ready}/graphql"
        response = requests.post(url, json={"query": query, "variables": variables}, timeout=60)
        assert response.status_code == 200, response.text
        assert "errors" not in response.json(), response.text
        return response.json()["data"]


@contextmanager
def run_dagster(
    home: Path,
    environment: Mapping[str, str] = os.environ,
    *,
    module: str = "examples.definitions",
    function: str = EXAMPLE,
) -> Iterator[Dagster]:
    """Run it while the block runs. `home` is a new folder for what it writes; `function` has the form of the option."""
    (home / "dagster_home").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "dagster.yaml", home / "dagster_home")
    variables = {
        **environment,
        "DAGSTER_HOME": str(home / "dagster_home"),
        "FUNCTION": "example",
        "LAKE_URI": str(home / "lake"),
        "WEATHER_SOURCE_URI": str(ROOT / "examples" / "data" / "weather.csv"),
    }
    dg = str(Path(sys.executable).parent / "dg")

    def run_at(port: int) -> AbstractContextManager[ChildProcess]:
        return run_process(
            python_command(
                *("-m", "dagster_gcf_pipes", "dev", "--function", function, "--"),
                *(dg, "dev", "-m", module, "-h", "127.0.0.1", "-p", str(port)),
            ),
            ready=rf"Serving dagster-webserver on (http://127.0.0.1:{port})",
            env=variables,
            stop_signal=signal.SIGINT,
            stop_timeout=60,
        )

    with run_on_free_port(run_at) as process:
        wait_until_listening(int(process.ready.rpartition(":")[2]), process)  # it prints the line a moment before
        yield Dagster(process)
