"""The command `dagster-gcf-pipes`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from gcf_pipes._shared.protocol import DEFAULT_KEY_PREFIX


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dagster-gcf-pipes")
def main() -> None:
    """Develop cloud functions that Dagster calls, run them on this machine, and check them in the cloud."""


@main.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "functions",
    "--function",
    multiple=True,
    metavar="NAME=FOLDER",
    help="A function to run: `orders=functions/orders`, or with its entry point `orders=functions/orders:main`. "
    "Default: those of `[tool.dagster-gcf-pipes.functions]` in pyproject.toml.",
)
@click.option("--isolated", is_flag=True, help="Run each function in an environment with its own requirements.txt.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def dev(functions: Sequence[str], command: Sequence[str], *, isolated: bool) -> None:
    """Run functions and a Cloud Storage emulator on this machine, and a command that uses them.

    For example: `dagster-gcf-pipes dev --function orders=functions/orders -- dg dev`.

    COMMAND, which follows `--`, runs until it ends or Ctrl-C; then everything stops. In it, `run(function="orders")`
    calls the local function, and PIPES_BUCKET names the bucket. Without a command, the variables to export are printed.
    """
    _require_extra()
    from dagster_gcf_pipes.local._dev import dev
    from dagster_gcf_pipes.local._processes import ProcessError
    from dagster_gcf_pipes.local._settings import FunctionSettings, SettingsError, load_settings

    try:
        settings = load_settings(Path("pyproject.toml"))
        if functions:
            settings = replace(settings, functions=[FunctionSettings.parse(text) for text in functions])
        if command:
            settings = replace(settings, command=command)
        sys.exit(dev(settings, isolated=isolated))
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    except ProcessError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("name")
def init(name: str) -> None:
    """Write a function that deploys, functions/NAME, with its test, and an asset that calls it."""
    _require_extra()
    from dagster_gcf_pipes._scaffold import scaffold
    from dagster_gcf_pipes.local._settings import SettingsError

    try:
        scaffold(name)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


@main.command()
@click.option("--function", metavar="NAME", help="The function's name, or its full resource name.")
@click.option("--url", metavar="URL", help="The function's URL. Its settings are not checked then.")
@click.option("--bucket", metavar="NAME", envvar="PIPES_BUCKET", show_envvar=True, help="The bucket of the resource.")
@click.option(
    "--key-prefix", metavar="PREFIX", default=DEFAULT_KEY_PREFIX, show_default=True, help="As in the resource."
)
@click.option("--project", metavar="ID", help="The project of a function that is given by its plain name.")
@click.option("--region", metavar="REGION", help="The region of a function that is given by its plain name.")
@click.option("--audience", metavar="TEXT", help="The audience of the ID token, if it is not the function's URL.")
@click.option("--impersonate-service-account", metavar="EMAIL", help="As in the resource.")
@click.option("--impersonation-delegates", metavar="EMAIL", multiple=True, help="As in the resource. Repeatable.")
@click.option("--log-view", metavar="NAME", help="As in the resource.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the findings.")
def doctor(*, as_json: bool, **options: Any) -> None:
    """Check a set-up in the cloud, and print what fixes it.

    It reads only. It may start an instance of the function, but does not run the function's code. The exit code is 0 if
    nothing is wrong, 1 if something is, and 2 if an option is not valid.

    Run it where Dagster runs: it checks with the identity and the network of the process that it is in.
    """
    from dagster_gcf_pipes._doctor import Options, diagnose, show

    try:
        findings = diagnose(Options(**options))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    raise SystemExit(show(findings, as_json=as_json))


@main.command()
@click.option("--url", metavar="URL", required=True, help="The function's URL. It implements the six tasks.")
@click.option(
    "--bucket",
    metavar="NAME",
    envvar="PIPES_BUCKET",
    show_envvar=True,
    help="The bucket for the messages. With an emulator, the default is a new one.",
)
@click.option(
    "--key-prefix", metavar="PREFIX", default=DEFAULT_KEY_PREFIX, show_default=True, help="As in the resource."
)
@click.option("--audience", metavar="TEXT", help="The audience of the ID token, if it is not the function's URL.")
@click.option("--impersonate-service-account", metavar="EMAIL", help="As in the resource.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    default=30,
    show_default=True,
    help="How long a call may take, in addition to the time for which it asks the function to sleep.",
)
@click.option(
    "--stop-within",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    default=20,
    show_default=True,
    help="How soon the function must stop after a cancel marker.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the findings.")
def conformance(*, as_json: bool, **options: Any) -> None:
    """Hold a function in any language against the protocol, and print what it does not do.

    The function implements the six tasks of the documentation's page on the protocol. The command calls them as Dagster
    would, and prints a line for each requirement: `ok`, `FAILED`, or `not there` for an optional part that the function
    lacks. It writes into the bucket, and deletes nothing.

    A function on this machine and the command use the same emulator: set STORAGE_EMULATOR_HOST for both.

    The exit code is 0 if all required parts hold and no optional part is wrong, 1 if not, and 2 if an option is not
    valid.
    """
    from gcf_pipes import GcfPipesError

    from dagster_gcf_pipes._conformance import Options, UnreachableError, caller_of, check_function, show

    try:
        caller = caller_of(Options(**options))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except GcfPipesError as error:
        raise click.ClickException(str(error)) from error
    try:
        code = show(check_function(caller), as_json=as_json)
    except UnreachableError as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(code)


def _require_extra() -> None:
    if missing := [name for name in ("functions_framework", "tomlkit", "uv", "watchfiles") if not find_spec(name)]:
        raise click.ClickException(
            f"Expected {', '.join(missing)} to be installed.\nFix: `pip install 'dagster-gcf-pipes[local]'`."
        )
