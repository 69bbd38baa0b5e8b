"""Starts the function of the cases in Node.js, on the functions-framework, with the package of this repository."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from dagster_gcf_pipes.local import FunctionServer
from dagster_gcf_pipes.local._processes import run_on_free_port, run_process

FUNCTION: Final = Path(__file__).parent / "functions" / "nodejs" / "index.mjs"
PACKAGE: Final = Path(__file__).parents[2] / "cloud_function_nodejs"
FRAMEWORK: Final = PACKAGE / "node_modules" / "@google-cloud" / "functions-framework" / "build" / "src" / "main.js"
OLDEST: Final = 20
"""The oldest version of Node.js that the package supports."""


def why_no_nodejs() -> str | None:
    """Why functions in Node.js cannot run here, or None if they can."""
    if not PACKAGE.exists():
        return f"there is no {PACKAGE.name}"
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return "there is no Node.js with npm on the PATH"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    match = re.match(r"v(\d+)", version)
    return None if match and int(match[1]) >= OLDEST else f"expected Node.js {OLDEST} or later, got {version}"


@cache
def build_package() -> None:
    """Install what the package needs, if that is missing, and build it."""
    if not FRAMEWORK.exists():
        _npm("ci", "--no-audit", "--no-fund")
    _npm("run", "build")


def _npm(*arguments: str) -> None:
    command = ["npm", *arguments]
    result = subprocess.run(
        command, cwd=PACKAGE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"`{' '.join(command)}` in {PACKAGE} failed:\n{result.stdout}")


@contextmanager
def serve_nodejs(storage_url: str, on_line: Callable[[str], None]) -> Iterator[FunctionServer]:
    """Run the function while the block runs."""
    build_package()
    with tempfile.TemporaryDirectory(prefix="gcf-pipes-") as folder:
        modules = Path(folder) / "node_modules"
        modules.mkdir()
        (modules / "gcf-pipes").symlink_to(PACKAGE)
        source = shutil.copy(FUNCTION, folder)

        @contextmanager
        def serve(port: int) -> Iterator[FunctionServer]:
            command = ["node", str(FRAMEWORK), "--target=main", f"--source={source}", f"--port={port}"]
            variables = {"STORAGE_EMULATOR_HOST": storage_url}
            with run_process(command, ready=r"URL: (http://\S+:\d+)/", env=variables, on_line=on_line) as child:
                yield FunctionServer(FUNCTION, child)

        with run_on_free_port(serve) as server:
            yield server
