"""A function on this machine that is started again when its files change."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from gcf_pipes._shared.protocol import BUCKETS_VARIABLE

from dagster_gcf_pipes.local._functions import FunctionServer, start_function
from dagster_gcf_pipes.local._processes import ProcessError
from dagster_gcf_pipes.local._requirements import isolated_python, missing_requirements
from dagster_gcf_pipes.local._settings import FunctionSettings

CHECK_INTERVAL_MS: Final = 100
"""How often to check whether a function's process has ended, in milliseconds."""

OTHER_FILES: Final = (".env", "requirements.txt", ".toml", ".yaml", ".yml")
"""The ends of the names of files that matter, besides those of Python. A function may write others while it runs."""
_GUNICORN_INFO: Final = re.compile(r"\[[-0-9: +]+\] \[[0-9]+\] \[INFO\] ")
"""Starts the lines in which gunicorn says that it starts and stops."""


class ReloadingFunction:
    """Runs a function while the block runs. It keeps its URL when it is started again.

    Args:
        settings: The function.
        emulator_url: The Cloud Storage emulator that it uses.
        bucket: The only bucket that its calls may name.
        isolated: Whether it gets an environment of its own with its `requirements.txt`.
        show: Called with each line of its output, and of what happens to it.
    """

    def __init__(
        self,
        settings: FunctionSettings,
        *,
        emulator_url: str,
        bucket: str,
        isolated: bool,
        show: Callable[[str], None],
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._emulator_url = emulator_url
        self._bucket = bucket
        self._isolated = isolated
        self._show = show
        self._url = ""
        self._running = ExitStack()
        self._stopping = Event()
        self._watcher = Thread(target=self._watch, name=f"watch {self.name}", daemon=True)

    def __enter__(self) -> "ReloadingFunction":
        self._watch_folder()
        self._server = self._start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stopping.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        self._running.close()

    def wait_until_ready(self) -> str:
        """Wait until the function listens, watch its files from now on, and return its URL.

        Raises:
            ProcessError: It did not start.
        """
        try:
            self._server.child.wait_until_ready()
        except ProcessError as error:
            raise ProcessError(self._server.start_problem) from error  # its whole output is above
        self._url = self._server.url
        self._show(f"[dev] listening at {self._url}")
        self._watcher.start()
        return self._url

    def _watch_folder(self) -> None:
        """Watch the folder from now on. It is another one if it was deleted and created again."""
        from watchfiles import PythonFilter, watch

        folder = self._settings.folder.resolve()
        self._identity = _identity(folder)
        self._changes = watch(
            folder,
            watch_filter=PythonFilter(ignore_paths=[folder / "venv", folder / "env"], extra_extensions=OTHER_FILES),
            stop_event=self._stopping,
            rust_timeout=CHECK_INTERVAL_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        next(self._changes, None)  # from here on no change is missed

    def _watch(self) -> None:
        """Start the function again after each change, until the block ends."""
        told = False
        while (changes := next(self._changes, None)) is not None:
            replaced = _identity(self._settings.folder) not in {None, self._identity}
            if replaced:
                self._watch_folder()
            if changes or replaced:
                told = not self._start_again(", ".join(self._names(changes)) or "its folder")
            elif not told and self._server.child.ended:
                self._show("[dev] the function has stopped: it starts again when a file of it changes")
                told = True

    def _start_again(self, changed: str) -> bool:
        """Start the function again, and return whether that was possible."""
        self._show(f"[dev] {changed} changed: starting the function again")
        self._running.close()
        try:
            if not self._isolated and (missing := missing_requirements(self._settings.folder)):
                self._show(f"[dev] not installed here: {', '.join(missing)}")
            self._server = self._start(urlsplit(self._url).port or 0)
        except (OSError, ValueError) as error:
            self._show(f"[dev] the function cannot start: {error} It starts again when a file of it changes.")
            return False
        return True

    def _start(self, port: int = 0) -> FunctionServer:
        return self._running.enter_context(
            start_function(
                self._settings.source,
                emulator_url=self._emulator_url,
                entry_point=self._settings.entry_point,
                port=port,
                python=self._python(),
                env={**self._settings.variables, BUCKETS_VARIABLE: self._bucket},
                on_line=self._show_line,
            )
        )

    def _names(self, changes: Iterable[tuple[object, str]]) -> list[str]:
        folder = self._settings.folder.resolve()
        return sorted(os.path.relpath(path, folder) for _, path in changes)[:3]

    def _show_line(self, line: str) -> None:
        if not _GUNICORN_INFO.match(line):
            self._show(line)

    def _python(self) -> Sequence[str]:
        return isolated_python(self._settings.folder) if self._isolated else []


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one with its name, or None if there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
