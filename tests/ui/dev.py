"""`just dev`, as a user runs it, with a folder and a port of its own."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dagster_gcf_pipes.local._processes import ChildProcess, run_on_free_port, run_process, wait_until_listening

ROOT = Path(__file__).parents[2]
JUST = shutil.which("just") or "just"
MISSING_DAY = re.compile(r"Seattle,2015-\d\d-14,")


@dataclass(frozen=True)
class Dev:
    """A running `just dev`.

    Attributes:
        url: Where Dagster's UI is.
        home: The folder for all that it writes.
        source: The weather that its function reads. A day of each month of 2015 is missing.
    """

    url: str
    home: Path
    source: Path

    @contextmanager
    def without_source(self) -> Iterator[None]:
        """Let the source be another file than the function expects, while the block runs."""
        weather = self.source.read_text()
        self.source.write_text("day,rain\n2015-01-01,0.0\n")
        try:
            yield
        finally:
            self.source.write_text(weather)


@contextmanager
def run_just_dev(home: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Dev]:
    """Run it while the block runs. `home` is a new folder."""
    source = home / "weather.csv"
    lines = (ROOT / "examples" / "data" / "weather.csv").read_text().splitlines(keepends=True)
    source.write_text("".join(line for line in lines if not MISSING_DAY.match(line)))

    def run_at(port: int) -> AbstractContextManager[ChildProcess]:
        return run_process(
            [JUST, "--set", "local", str(home), "dev", "--host", "127.0.0.1", "--port", str(port)],
            ready=rf"Serving dagster-webserver on (http://127.0.0.1:{port})",
            env={**environment, "WEATHER_SOURCE_URI": str(source)},
            cwd=ROOT,
            stop_timeout=60,
        )

    with run_on_free_port(run_at) as process:
        wait_until_listening(int(process.ready.rpartition(":")[2]), process)  # it prints the line a moment before
        yield Dev(process.ready, home, source)
