"""The function on functions-framework and gunicorn, as in the cloud."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dagster_gcf_pipes.local._processes import ChildProcess, python_command, run_process


@dataclass(frozen=True)
class FunctionServer:
    """A running function.

    Attributes:
        url: Its URL.
        child: Its process.
    """

    url: str
    child: ChildProcess


@contextmanager
def run_function(
    source: Path,
    *,
    emulator_url: str,
    threads: int = 8,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> Iterator[FunctionServer]:
    """Run a function on a free port while the block runs.

    Args:
        source: The file that defines the function `main`.
        emulator_url: The Cloud Storage emulator that it uses.
        threads: How many requests it serves at once.
        env: Further environment variables.
        on_line: Called with each line of its output.

    Raises:
        ProcessError: It did not start.
    """
    command = python_command(
        "-m",
        "functions_framework",
        "--target",
        "main",
        "--source",
        str(source),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    )
    server = {"STORAGE_EMULATOR_HOST": emulator_url, "THREADS": str(threads), "GUNICORN_LOG_LEVEL": "info"}
    variables = {**server, **(env or {})}
    with run_process(command, ready=r"Listening at: (http://\S+)", env=variables, on_line=on_line) as child:
        yield FunctionServer(child.ready, child)
