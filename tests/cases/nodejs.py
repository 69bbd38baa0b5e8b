"""Starts the function of the cases in Node.js."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dagster_gcf_pipes.local import FunctionServer
from tests import nodejs

FUNCTION: Final = Path(__file__).parent / "functions" / "nodejs" / "index.mjs"


@contextmanager
def serve_nodejs(storage_url: str, on_line: Callable[[str], None]) -> Iterator[FunctionServer]:
    """Run the function while the block runs."""
    with tempfile.TemporaryDirectory(prefix="gcf-pipes-") as name:
        source = Path(shutil.copy(FUNCTION, name))
        env = {"STORAGE_EMULATOR_HOST": storage_url}
        with nodejs.serve_nodejs(source, target="main", env=env, on_line=on_line) as child:
            yield FunctionServer(FUNCTION, child)
