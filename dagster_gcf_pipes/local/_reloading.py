"""A function on this machine that is started again when its files change."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from threading import Event, Thread
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from dagster_gcf_pipes.local._functions import FunctionServer, start_function
from dagster_gcf_pipes.local._processes import ProcessError
from dagster_gcf_pipes.local._requirements import isolated_python
from dagster_gcf_pipes.local._settings import FunctionSettings

CHECK_INTERVAL_MS: Final = 100
"""How often to check whether a function's process has ended, in milliseconds."""

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
        from watchfiles import watch

        self._changes = watch(
            self._settings.folder,
            stop_event=self._stopping,
            rust_timeout=CHECK_INTERVAL_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        next(self._changes)  # from here on no change is missed
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

    def _watch(self) -> None:
        """Start the function again after each change, until the block ends."""
        told = False
        for changes in self._changes:
            if changes:
                self._show(f"[dev] {self._names(changes)} changed: starting the function again")
                self._running.close()
                self._server = self._start(urlsplit(self._url).port or 0)
                told = False
            elif not told and self._server.child.ended:
                self._show("[dev] the function has stopped: it starts again when a file of it changes")
                told = True

    def _start(self, port: int = 0) -> FunctionServer:
        return self._running.enter_context(
            start_function(
                self._settings.source,
                emulator_url=self._emulator_url,
                entry_point=self._settings.entry_point,
                port=port,
                python=self._python(),
                env={"GCF_PIPES_BUCKETS": self._bucket, **self._variables()},
                on_line=self._show_line,
            )
        )

    def _names(self, changes: Iterable[tuple[object, str]]) -> str:
        folder = self._settings.folder.resolve()
        return ", ".join(sorted(os.path.relpath(path, folder) for _, path in changes)[:3])

    def _show_line(self, line: str) -> None:
        if not _GUNICORN_INFO.match(line):
            self._show(line)

    def _python(self) -> Sequence[str]:
        return isolated_python(self._settings.folder) if self._isolated else []

    def _variables(self) -> Mapping[str, str]:
        """Return the variables of the function's `.env` file."""
        from dotenv import dotenv_values

        return {name: value or "" for name, value in dotenv_values(self._settings.folder / ".env").items()}
