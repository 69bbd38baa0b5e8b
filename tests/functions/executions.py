"""The user's code of the functions whose callers are killed. It counts its executions in files, one for each key."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final, Protocol

FOLDER: Final = "EXECUTIONS_FOLDER"
"""The environment variable that names the folder of the files."""

never = Event()


class Log(Protocol):
    def info(self, text: str, /) -> None: ...


class Pipes(Protocol):
    """The part of `dagster_pipes.PipesContext` that the code uses."""

    @property
    def log(self) -> Log: ...
    def report_custom_message(self, payload: Any) -> None: ...
    def report_asset_materialization(self, metadata: Mapping[str, Any]) -> None: ...
    def report_asset_check(self, check_name: str, passed: bool) -> None: ...


def execute(pipes: Pipes, event: Mapping[str, Any]) -> None:
    """Log `lines` lines, `interval` seconds apart, with a pause in the middle. Then report the results."""
    with _counted(event["key"]):
        for number in range(event["lines"]):
            pipes.log.info(f"line {number}")
            pipes.report_custom_message({"number": number})
            never.wait(event["interval"])
            if number == event["lines"] // 2:
                never.wait(event["pause"])
        pipes.report_asset_materialization(metadata={"lines": event["lines"]})
        pipes.report_asset_check(check_name="complete", passed=True)


@contextmanager
def _counted(key: str) -> Iterator[None]:
    file = Path(os.environ[FOLDER], key)
    _append(file, "started\n")
    try:
        yield
    finally:
        _append(file, "ended\n")


def _append(file: Path, line: str) -> None:
    with file.open("a") as lines:
        lines.write(line)
