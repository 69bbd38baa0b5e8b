"""What `dagster-gcf-pipes dev` runs: its options, and `[tool.dagster-gcf-pipes]` of pyproject.toml."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gcf_pipes._shared.protocol import BUCKET_NAME

from dagster_gcf_pipes.local._functions import DEFAULT_ENTRY_POINT

DEFAULT_BUCKET: Final = "local-pipes"
TABLE: Final = "[tool.dagster-gcf-pipes]"
_FUNCTION_EXAMPLE: Final = "orders = 'functions/orders'"
_OPTION_EXAMPLE: Final = "orders=functions/orders"
_KEYS: Final = {"functions", "bucket", "command"}
_FUNCTION_KEYS: Final = {"source", "entry_point"}


class SettingsError(ValueError):
    """An option of the command, or the table in pyproject.toml, is not valid."""


@dataclass(frozen=True)
class FunctionSettings:
    """A function to run.

    Attributes:
        name: The name by which `run(function=...)` finds it.
        source: Its folder, or its file.
        entry_point: The name of the function in `main.py`.
    """

    name: str
    source: Path
    entry_point: str = DEFAULT_ENTRY_POINT

    def __post_init__(self) -> None:
        main = self.source / "main.py" if self.source.is_dir() else self.source
        if not main.is_file():
            raise SettingsError(
                f"Expected the source of the function {self.name!r} to be a folder with a `main.py`, or a file, got "
                f"{str(self.source)!r}.\nFix: Correct the path, or create the function: `dagster-gcf-pipes init "
                f"{self.name}`."
            )

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.source if self.source.is_dir() else self.source.parent

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables of its `.env` file.

        Raises:
            SettingsError: The file cannot be read, or a value cannot be in an environment.
        """
        from dotenv import dotenv_values

        path = self.folder / ".env"
        try:
            variables = {name: value or "" for name, value in dotenv_values(path).items()}
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"Cannot read {path}: {error}") from error
        if invalid := [name for name, value in variables.items() if "\0" in name + value]:
            raise SettingsError(f"Expected text without NUL characters in {path}, got one at {invalid[0]!r}.")
        return variables

    @classmethod
    def parse(cls, text: str) -> "FunctionSettings":
        """Parse an option `NAME=SOURCE` or `NAME=SOURCE:ENTRY_POINT`.

        Raises:
            SettingsError: It is neither, or there is no such source.
        """
        name, _, source = text.partition("=")
        source, _, entry_point = source.partition(":")
        if not (name and source):
            raise SettingsError(f"Expected `--function` to be NAME=FOLDER, such as {_OPTION_EXAMPLE}, got {text!r}.")
        return cls(name, Path(source), entry_point or DEFAULT_ENTRY_POINT)


@dataclass(frozen=True)
class DevSettings:
    """What to run.

    Attributes:
        functions: The functions.
        bucket: The name of the bucket in the emulator.
        command: The command to run with them, or nothing.
    """

    functions: Sequence[FunctionSettings] = ()
    bucket: str = DEFAULT_BUCKET
    command: Sequence[str] = ()


def load_settings(pyproject: Path) -> DevSettings:
    """Read the table in a pyproject.toml. Without the file or the table, nothing is set.

    Raises:
        SettingsError: The file or the table is not valid.
    """
    table = load_table(pyproject)
    if unknown := table.keys() - _KEYS:
        raise _error(pyproject, "the keys", f"some of {sorted(_KEYS)}", f"{sorted(unknown)}")
    functions = table.get("functions", {})
    if not isinstance(functions, dict):
        raise _error(pyproject, "`functions`", f"a table, such as {_FUNCTION_EXAMPLE}", repr(functions))
    bucket, command = table.get("bucket", DEFAULT_BUCKET), table.get("command", "")
    for key, value in (("bucket", bucket), ("command", command)):
        if not isinstance(value, str):
            raise _error(pyproject, f"`{key}`", "a string", repr(value))
    if not BUCKET_NAME.fullmatch(bucket):
        raise _error(pyproject, "`bucket`", "the name of a bucket", repr(bucket))
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise _error(pyproject, "`command`", "a command as in a shell", f"{command!r}: {error}") from error
    return DevSettings([_function(pyproject, name, value) for name, value in functions.items()], bucket, arguments)


def load_table(pyproject: Path) -> Mapping[str, Any]:
    """Read the table as it is; empty without the file or the table.

    Raises:
        SettingsError: The file cannot be read or is not TOML, or its entry is not a table.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        found: Any = tomlkit.parse(pyproject.read_text("utf-8-sig")).unwrap()
    except FileNotFoundError:
        return {}
    except (TOMLKitError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"Expected {pyproject} to be a TOML file: {error}") from error
    for key in ("tool", "dagster-gcf-pipes"):
        found = found.get(key, {})
        if not isinstance(found, dict):
            raise SettingsError(f"Expected `{key}` in {pyproject} to be a table, got {found!r}.")
    table: dict[str, Any] = found
    return table


def _function(pyproject: Path, name: str, value: Any) -> FunctionSettings:
    table = {"source": value} if isinstance(value, str) else value
    known = isinstance(table, dict) and "source" in table and not table.keys() - _FUNCTION_KEYS
    if not known or not all(isinstance(each, str) for each in table.values()):
        expected = "its folder, or a table with `source` and perhaps `entry_point`"
        raise _error(pyproject, f"the function {name!r}", expected, repr(value))
    return FunctionSettings(name, pyproject.parent / table["source"], table.get("entry_point", DEFAULT_ENTRY_POINT))


def _error(pyproject: Path, what: str, expected: str, got: str) -> SettingsError:
    return SettingsError(f"Expected {what} in {TABLE} of {pyproject} to be {expected}, got {got}.")
