"""The function on functions-framework and gunicorn, as in the cloud."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dagster_gcf_pipes.local._processes import ChildProcess, ProcessError, python_command, run_process

_START_FIXES: Final = {
    "No module named '?functions_framework": "Install what runs functions: `pip install 'dagster-gcf-pipes[local]'`.",
    "MissingTargetException": "Name the entry point `main`: `def main(request, pipes)`.",
    "MissingSourceException": "Write the function into the file `main.py`.",
    "ModuleNotFoundError": "Install what the function imports: `pip install -r requirements.txt` in its folder.",
}
"""What to do about a function that did not start, by a pattern of its output. The first match counts."""
_EXCEPTION: Final = re.compile(r"^[A-Za-z_][\w.]*: .+(?:\nFix: .+)?", re.MULTILINE)
"""The last line of a traceback, with what our own exceptions say to do."""


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
    with ExitStack() as stack:
        server_process = run_process(command, ready=r"Listening at: (http://\S+)", env=variables, on_line=on_line)
        with _explained_start(source):
            child = stack.enter_context(server_process)
        yield FunctionServer(child.ready, child)


@contextmanager
def _explained_start(source: Path) -> Iterator[None]:
    """Say first why a function did not start, and what to do. The traceback that it printed comes after that."""
    try:
        yield
    except ProcessError as error:
        output = str(error).rstrip()
        problem = (_EXCEPTION.findall(output) or output.splitlines())[-1]
        fixes = (f"\nFix: {fix}" for pattern, fix in _START_FIXES.items() if re.search(pattern, problem))
        raise ProcessError(f"The function in {source} did not start: {problem}{next(fixes, '')}\n\n{output}") from error
