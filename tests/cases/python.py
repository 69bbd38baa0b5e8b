"""Starts the function of the cases in Python."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dagster_gcf_pipes.local import FunctionServer, run_function

FUNCTION: Final = Path(__file__).parent / "functions" / "python"


@contextmanager
def serve_python(storage_url: str, on_line: Callable[[str], None]) -> Iterator[FunctionServer]:
    """Run the function while the block runs."""
    with run_function(FUNCTION, emulator_url=storage_url, threads=16, on_line=on_line) as server:
        yield server
