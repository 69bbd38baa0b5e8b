"""Functions on functions-framework and gunicorn, as in the cloud."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dagster_gcf_pipes.local._processes import ChildProcess, ProcessError, run_process

DEFAULT_ENTRY_POINT: Final = "main"
DEFAULT_THREADS: Final = 8
_MACOS: Final = {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"} if sys.platform == "darwin" else {}
"""gunicorn forks after it has imported the function. Without this, macOS kills such a child that uses a framework.

Source: https://github.com/benoitc/gunicorn/issues/2227.
"""
_START_FIXES: Final = {
    "No module named '?functions_framework": "Install what runs functions: `pip install 'dagster-gcf-pipes[local]'`.",
    "MissingTargetException": "Name the entry point `main`: `def main(request, pipes)`. Or pass its name.",
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
        source: Its folder or file.
        child: Its process.
    """

    source: Path
    child: ChildProcess

    @property
    def url(self) -> str:
        """Its URL. Empty until it listens."""
        return self.child.ready

    @property
    def start_problem(self) -> str:
        """Why it did not start, and what to do."""
        output = self.child.output.rstrip()
        ended = f"its process ended with exit code {self.child.process.poll()}"
        problem = [ended, *output.splitlines()[-1:], *_EXCEPTION.findall(output)][-1]
        fixes = (f"\nFix: {fix}" for pattern, fix in _START_FIXES.items() if re.search(pattern, problem))
        return f"The function in {self.source} did not start: {problem}{next(fixes, '')}"


@contextmanager
def run_function(
    source: Path,
    *,
    emulator_url: str,
    entry_point: str = DEFAULT_ENTRY_POINT,
    threads: int = DEFAULT_THREADS,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> Iterator[FunctionServer]:
    """Run a function on a free port while the block runs. The block starts when the function listens.

    As in the cloud, the function's folder is the working directory.

    Args:
        source: The function's folder with its `main.py`, or its file.
        emulator_url: The Cloud Storage emulator that it uses.
        entry_point: The name of the function in that file. Default "main".
        threads: How many requests it serves at once. Default 8.
        env: Further environment variables.
        on_line: Called with each line of its output.

    Raises:
        ProcessError: It did not start.
    """
    with start_function(
        source, emulator_url=emulator_url, entry_point=entry_point, threads=threads, env=env, on_line=on_line
    ) as server:
        try:
            server.child.wait_until_ready()
        except ProcessError as error:
            raise ProcessError(f"{server.start_problem}\n\n{server.child.output}") from error
        yield server


@contextmanager
def start_function(
    source: Path,
    *,
    emulator_url: str,
    entry_point: str = DEFAULT_ENTRY_POINT,
    threads: int = DEFAULT_THREADS,
    port: int = 0,
    python: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> Iterator[FunctionServer]:
    """Run a function while the block runs, as `run_function` does, but start the block at once.

    The port is a free one if it is 0. `python` is the command that runs Python. Default: this one.
    """
    file = source.resolve() / "main.py" if source.is_dir() else source.resolve()
    framework = [*(python or [sys.executable]), "-m", "functions_framework"]
    served = ["--target", entry_point, "--source", os.fspath(file), "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="gcf-pipes-") as runtime:
        variables = {
            **_MACOS,
            "THREADS": str(threads),
            "GUNICORN_LOG_LEVEL": "info",
            "XDG_RUNTIME_DIR": runtime,  # for gunicorn's control socket, which otherwise lies in the home folder
            **(env or {}),
            "STORAGE_EMULATOR_HOST": emulator_url,
        }
        with run_process(
            [*framework, *served],
            ready=r"Listening at: (http://\S+)",
            env=variables,
            cwd=file.parent,
            on_line=on_line,
            wait=False,
        ) as child:
            yield FunctionServer(source, child)
