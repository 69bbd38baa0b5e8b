"""Runs the code blocks of the documentation, page by page, in one folder for each page.

A block whose first line is a comment with a file name is that file. Other Python runs as a script, and shell commands
run in that folder. A block that cannot run here says why:

    <!-- skip: next "needs a project in Google Cloud" -->
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import hcl2
import tomlkit
import yaml
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

DEADLINE: Final = 120.0
"""Seconds that a block may take."""
FILE_NAME: Final = re.compile(r"\A(?:#|//) ([\w./-]+\.\w+)\n")
CHECKS: Final[dict[str, Callable[[str], Any]]] = {
    "dockerfile": str,  # nothing checks it
    "hcl": hcl2.loads,
    "js": str,  # what runs the file checks it
    "json": json.loads,
    "toml": tomlkit.parse,
    "yaml": yaml.safe_load,
}
LANGUAGES: Final = {"python", "sh", *CHECKS}


def collect(*patterns: str) -> Sybil:
    """Make each code block of the pages a test. `text` blocks are output, and not tested here."""
    languages = {**dict.fromkeys(CHECKS, _check), "python": _python, "sh": _shell}
    blocks = [CodeBlockParser(language, evaluator) for language, evaluator in languages.items()]
    root = str(Path(__file__).parents[1])
    return Sybil([*blocks, SkipParser()], path=root, patterns=patterns, setup=_setup, teardown=_teardown)


def _setup(namespace: dict[str, Any]) -> None:
    namespace["folder"] = TemporaryDirectory()


def _teardown(namespace: dict[str, Any]) -> None:
    namespace["folder"].cleanup()


def _check(example: Example) -> None:
    CHECKS[example.region.lexemes["arguments"]](FILE_NAME.sub("", example.parsed))  # JSON has no comments
    _write_file(example)


def _python(example: Example) -> None:
    if not _write_file(example):
        _run(example, [sys.executable, "-c", example.parsed])


def _shell(example: Example) -> None:
    _run(example, ["bash", "-euo", "pipefail", "-c", example.parsed])


def _write_file(example: Example) -> bool:
    named = FILE_NAME.match(example.parsed)
    if named:
        path = Path(example.namespace["folder"].name, named[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example.parsed.removeprefix(named[0]))
    return named is not None


def _run(example: Example, command: list[str]) -> None:
    folder = example.namespace["folder"].name
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with subprocess.Popen(
        command,
        cwd=folder,
        env={"HOME": folder, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # what it started ends too
            raise
    assert process.returncode == 0, output
