"""The whole local stack: the emulator with the example's input in a bucket, and the example's function."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dagster_gcf_pipes.local import (
    Emulator,
    FunctionServer,
    available_emulators,
    run_emulator,
    run_function,
    storage_client,
)
from dagster_gcf_pipes.local._processes import ENDING_SIGNALS

BUCKET = "local-pipes"
EXAMPLE = Path(__file__).parent.parent / "cloud_function" / "main.py"
INPUT = Path(__file__).parent.parent / "examples" / "data" / "weather.csv"


@dataclass(frozen=True)
class LocalStack:
    """A running local stack.

    Attributes:
        emulator: The Cloud Storage emulator.
        function: The function.
        environment: The environment variables for `examples/definitions.py`.
    """

    emulator: Emulator
    function: FunctionServer
    environment: Mapping[str, str]


@contextmanager
def run_stack(lake: Path, on_line: Callable[[str], None] = lambda _: None) -> Iterator[LocalStack]:
    """Run the local stack while the block runs.

    Args:
        lake: The local directory for the Delta tables. The emulators cannot serve them.
        on_line: Called with each line of the function's output.

    Raises:
        ProcessError: A process did not start.
    """
    with (
        run_emulator(available_emulators()[0]) as emulator,
        run_function(
            EXAMPLE, emulator_url=emulator.url, env={"GCF_PIPES_BUCKETS": BUCKET}, on_line=on_line
        ) as function,
    ):
        source_uri = _upload_input(emulator)
        environment = {
            "STORAGE_EMULATOR_HOST": emulator.url,
            "PIPES_BUCKET": BUCKET,
            "FUNCTION_URL": function.url,
            "LAKE_URI": str(lake),
            "WEATHER_SOURCE_URI": source_uri,
        }
        yield LocalStack(emulator, function, environment)


def exit_on_signals() -> None:
    """Let the first Ctrl-C, SIGTERM or SIGHUP end this process through the blocks that stop its children."""

    def stop(signum: int, _: FrameType | None) -> NoReturn:
        for each in ENDING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)

    for each in ENDING_SIGNALS:
        signal.signal(each, stop)


def _upload_input(emulator: Emulator) -> str:
    with closing(storage_client(emulator.url)) as client:
        blob = client.create_bucket(BUCKET).blob(f"input/{INPUT.name}")
        blob.upload_from_filename(os.fspath(INPUT))
        return f"gs://{BUCKET}/{blob.name}"
