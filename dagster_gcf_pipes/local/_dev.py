"""Runs an emulator, functions and a command with them: `dagster-gcf-pipes dev`."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn
from urllib.request import getproxies

import click
from gcf_pipes._shared.storage import EMULATOR_VARIABLE

from dagster_gcf_pipes._environment import BUCKET_VARIABLE, LOCAL_FUNCTIONS_VARIABLE
from dagster_gcf_pipes.local._emulators import available_emulators, run_emulator, storage_client
from dagster_gcf_pipes.local._processes import ENDING_SIGNALS, ProcessError, signals_held_back, stop_process
from dagster_gcf_pipes.local._reloading import ReloadingFunction
from dagster_gcf_pipes.local._requirements import missing_requirements
from dagster_gcf_pipes.local._settings import DevSettings, SettingsError

COMMAND_STOP_TIMEOUT: Final = 20.0
"""Seconds that the command has to end after a signal. Dagster first ends its own processes."""
_HERE: Final = "127.0.0.1,localhost"
_COLORS: Final = ("cyan", "magenta", "green", "yellow", "blue")


def dev(settings: DevSettings, *, isolated: bool) -> int:
    """Run everything until the command ends, or until Ctrl-C, SIGTERM or SIGHUP, and stop everything.

    Args:
        settings: What to run.
        isolated: Whether each function with a `requirements.txt` gets an environment of its own.

    Returns:
        The exit code of the command, as a shell reports it; or 128 and the number of the signal.

    Raises:
        SettingsError: The command is not on the PATH.
        ProcessError: The emulator or a function did not start.
    """
    _check(settings, isolated=isolated)
    try:
        exit_on_signals()
        os.environ.update(without_proxy())
        click.echo(f"starting {', '.join(function.name for function in settings.functions)} ...", err=True)
        with run_local(settings, isolated=isolated) as environment:
            if settings.command:
                return run_command(settings, environment)
            _print_exports(environment)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        click.echo("Everything is stopped.", err=True)


@contextmanager
def run_local(settings: DevSettings, *, isolated: bool = False) -> Iterator[Mapping[str, str]]:
    """Run the emulator, its bucket and the functions while the block runs.

    Yields the environment variables for a process that calls the functions.
    """
    with run_emulator(available_emulators()[0]) as emulator, ExitStack() as stack:
        functions = [
            ReloadingFunction(
                function,
                emulator_url=emulator.url,
                bucket=settings.bucket,
                isolated=isolated,
                show=_printer(function.name, number, settings),
            )
            for number, function in enumerate(settings.functions)
        ]
        for function in functions:  # they start side by side
            stack.enter_context(function)
        with closing(storage_client(emulator.url)) as client:
            client.create_bucket(settings.bucket)
        urls = {function.name: function.wait_until_ready() for function in functions}
        click.echo(f"{emulator.name} serves gs://{settings.bucket} at {emulator.url}", err=True)
        yield {
            EMULATOR_VARIABLE: emulator.url,
            BUCKET_VARIABLE: settings.bucket,
            LOCAL_FUNCTIONS_VARIABLE: json.dumps(urls),
            **without_proxy(),
        }


def run_command(settings: DevSettings, environment: Mapping[str, str]) -> int:
    """Run the command with these environment variables, and return its exit code, as a shell reports it.

    The command has a process group of its own, of which nothing is left when this returns or raises.
    """
    try:
        with signals_held_back():
            process = subprocess.Popen(settings.command, env={**os.environ, **environment}, start_new_session=True)
        code = process.wait()
    except OSError as error:
        raise ProcessError(f"Cannot run {settings.command[0]!r}: {error.strerror}.") from error
    except (KeyboardInterrupt, SystemExit) as error:
        signal.signal(signal.SIGINT, lambda *_: _kill(process))
        click.echo("stopping the command; Ctrl-C kills it", err=True)
        stop_process(process, _signal_of(error), COMMAND_STOP_TIMEOUT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it stays ignored while this process ends
        raise
    stop_process(process, signal.SIGTERM, 0)  # what it has left running
    return code if code >= 0 else 128 - code


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def without_proxy() -> Mapping[str, str]:
    """Return the variables that keep a proxy out of requests to this machine; none if no proxy is set."""
    if not getproxies():
        return {}
    excluded = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return dict.fromkeys(("NO_PROXY", "no_proxy"), f"{excluded},{_HERE}" if excluded else _HERE)


def exit_on_signals() -> None:
    """Let the first Ctrl-C, SIGTERM or SIGHUP end this process through the blocks that stop its children."""

    def stop(signum: int, _: FrameType | None) -> NoReturn:
        for each in ENDING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)

    for each in ENDING_SIGNALS:
        signal.signal(each, stop)


def _check(settings: DevSettings, *, isolated: bool) -> None:
    """Refuse, before anything starts, what could not work."""
    if not settings.functions:
        raise SettingsError(
            "Expected at least one function.\nFix: Pass `--function NAME=FOLDER`, or name your functions in "
            f"`[tool.dagster-gcf-pipes.functions]` of {Path.cwd() / 'pyproject.toml'}. `dagster-gcf-pipes init NAME` "
            "creates one."
        )
    names = [function.name for function in settings.functions]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"Expected each function once, got {repeated!r} twice.")
    if settings.command and not shutil.which(settings.command[0]):
        raise SettingsError(
            f"Expected a command on the PATH, got {settings.command[0]!r}.\nFix: Install it, or correct its name. "
            "`dg` is in the package dagster-dg-cli."
        )
    for function in settings.functions:
        if not isolated and (missing := missing_requirements(function.folder)):
            raise SettingsError(
                f"The function {function.name!r} needs {', '.join(missing)}, not installed here.\nFix: `pip install -r "
                f"{function.folder / 'requirements.txt'}`, or pass `--isolated`, which gives each function an "
                "environment of its own."
            )


def _signal_of(error: BaseException) -> int:
    return error.code - 128 if isinstance(error, SystemExit) and isinstance(error.code, int) else signal.SIGINT


def _print_exports(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    click.echo("Run these lines where Dagster runs. Ctrl-C stops everything.", err=True)


def _printer(name: str, number: int, settings: DevSettings) -> Callable[[str], None]:
    """Return what prints a line of a function's output, with a prefix that has a colour on a terminal."""
    width = max(len(function.name) for function in settings.functions)
    color = None if os.environ.get("NO_COLOR") else _COLORS[number % len(_COLORS)]
    prefix = click.style(f"{name:<{width}} |", fg=color)

    def show(line: str) -> None:
        with suppress(OSError):  # the terminal is closed: the function goes on until the signal comes
            click.echo(f"{prefix} {line.rstrip()}", file=sys.stderr)

    return show
