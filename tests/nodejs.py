"""Functions in Node.js, on the functions-framework, with the package of this repository."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from dagster_gcf_pipes.local._processes import ChildProcess, run_on_free_port, run_process

PACKAGE: Final = Path(__file__).parents[1] / "cloud_function_nodejs"
FRAMEWORK: Final = PACKAGE / "node_modules" / "@google-cloud" / "functions-framework" / "build" / "src" / "main.js"
STAMP: Final = PACKAGE / "node_modules" / ".gcf-pipes-built"
"""Says from which sources the package was built."""
OLDEST: Final = 20
"""The oldest version of Node.js that the package supports."""


def why_no_nodejs() -> str | None:
    """Why functions in Node.js cannot run here, or None if they can."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "there is no Node.js with npm on the PATH"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    match = re.match(r"v(\d+)", version)
    if not match or int(match[1]) < OLDEST:
        return f"expected Node.js {OLDEST} or later, got {version}"
    return None if FRAMEWORK.exists() else "the packages of the Node.js half are missing: `just test` installs them"


def build_package() -> None:
    """Build the package, unless that was done. Several processes may ask at once."""
    with (PACKAGE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        digest = _digest_of_sources()
        if not STAMP.exists() or STAMP.read_text() != digest:
            _build()
            STAMP.write_text(digest)


@contextmanager
def serve_nodejs(
    source: Path, *, target: str, env: Mapping[str, str], on_line: Callable[[str], None] = lambda _: None
) -> Iterator[ChildProcess]:
    """Serve a function on a free port while the block runs.

    Args:
        source: Its folder, or its file. The folder gets the package.
        target: The name of the function in that file.
        env: Further environment variables.
        on_line: Called with each line of its output.
    """
    build_package()
    modules = (source if source.is_dir() else source.parent) / "node_modules"
    modules.mkdir(exist_ok=True)
    (modules / "gcf-pipes").symlink_to(PACKAGE)

    def serve(port: int) -> AbstractContextManager[ChildProcess]:
        command = ["node", os.fspath(FRAMEWORK), f"--target={target}", f"--source={source}", f"--port={port}"]
        return run_process(command, ready=r"URL: (http://\S+:\d+)/", env=env, on_line=on_line)

    with run_on_free_port(serve) as child:
        yield child


def _digest_of_sources() -> str:
    files = [*sorted((PACKAGE / "src").rglob("*")), PACKAGE / "package.json", PACKAGE / "tsconfig.json"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _build() -> None:
    command = ["npm", "run", "build"]
    result = subprocess.run(
        command, cwd=PACKAGE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"`{' '.join(command)}` in {PACKAGE} failed:\n{result.stdout}")
