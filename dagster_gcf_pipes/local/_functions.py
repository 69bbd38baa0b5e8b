"""Functions on functions-framework and gunicorn, as in the cloud."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dagster_gcf_pipes.local._processes import ChildProcess, start_process

DEFAULT_ENTRY_POINT: Final = "main"
DEFAULT_THREADS: Final = 8
_MACOS: Final = {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"} if sys.platform == "darwin" else {}
"""gunicorn forks after it has imported the function. Without this, macOS kills such a child that uses a framework.

Source: https://github.com/benoitc/gunicorn/issues/2227.
"""


@dataclass(frozen=True)
class FunctionServer:
    """A running function.

    Attributes:
        child: Its process.
    """

    child: ChildProcess

    @property
    def url(self) -> str:
        """Its URL. Empty until it listens."""
        return self.child.ready


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
        server.child.wait_until_ready()
        yield server


@contextmanager
def start_function(
    source: Path,
    *,
    emulator_url: str,
    entry_point: str = DEFAULT_ENTRY_POINT,
    threads: int = DEFAULT_THREADS,
    port: int = 0,
    python: Sequence[str] = (sys.executable,),
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> Iterator[FunctionServer]:
    """Run a function while the block runs, as `run_function` does, but start the block at once.

    The port is a free one if it is 0. `python` is the command that runs Python.
    """
    file = source.resolve() / "main.py" if source.is_dir() else source.resolve()
    framework = [*python, "-m", "functions_framework", "--target", entry_point, "--source", os.fspath(file)]
    with tempfile.TemporaryDirectory(prefix="gcf-pipes-") as runtime:
        variables = {
            **_MACOS,
            "STORAGE_EMULATOR_HOST": emulator_url,
            "THREADS": str(threads),
            "GUNICORN_LOG_LEVEL": "info",
            "XDG_RUNTIME_DIR": runtime,  # for gunicorn's control socket, which otherwise lies in the home folder
            **(env or {}),
        }
        with start_process(
            [*framework, "--host", "127.0.0.1", "--port", str(port)],
            ready=r"Listening at: (http://\S+)",
            env=variables,
            cwd=file.parent,
            on_line=on_line,
        ) as child:
            yield FunctionServer(child)
