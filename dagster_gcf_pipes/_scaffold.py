"""Writes a function that deploys, and an asset that calls it: `dagster-gcf-pipes init`, `dg scaffold defs`."""

import builtins
import io
import keyword
import re
import shutil
import tokenize
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import resources
from importlib.metadata import Distribution, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from dagster_gcf_pipes.local._settings import TABLE, SettingsError, load_table

EXAMPLE: Final = "orders"
"""The function in the templates. The name of the new function takes its place."""
DEFINITIONS: Final = Path("definitions.py")
PYPROJECT: Final = Path("pyproject.toml")
COMMAND: Final = f"dg dev -f {DEFINITIONS}"
_NAME: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""Source: https://cloud.google.com/sdk/gcloud/reference/functions/deploy, and for Cloud Run services
https://cloud.google.com/run/docs/deploying#service ("49 characters or less" with its suffix).
"""
_RESERVED_BY_DAGSTER: Final = {
    "conf",
    "config",
    "context",
    "meta",
    "arg_dict",
    "input_arg_dict",
    "output_arg_dict",
    "output",
}
"""Names that an asset cannot have, beside keywords and builtins. Source: `DISALLOWED_NAMES` in
https://github.com/dagster-io/dagster/blob/master/python_modules/dagster/dagster/_core/definitions/utils.py.
"""
_BYTE_ORDER_MARK: Final = "\ufeff"


def scaffold(name: str) -> None:
    """Write the folder `functions/NAME`, and what calls it, into the working directory. Nothing is overwritten.

    Raises:
        SettingsError: The name or the pyproject.toml is not valid, something is in the way, or a write failed.
    """
    if DEFINITIONS.is_dir():
        raise SettingsError(f"Expected {DEFINITIONS} to be a file, got a folder.\nFix: Rename the folder.")
    wants_definitions = not DEFINITIONS.exists()
    definitions = _template("definitions.py", name)
    files = {DEFINITIONS: definitions} if wants_definitions else {}
    folder = scaffold_function(name, Path(), command=COMMAND if wants_definitions else None, more_files=files)
    _print_next_steps(folder, None if wants_definitions else definitions)


def scaffold_function(
    name: str, root: Path, *, command: str | None, more_files: Mapping[Path, str] = MappingProxyType({})
) -> Path:
    """Write the folder `functions/NAME`, and its entry in pyproject.toml. Nothing is overwritten.

    Args:
        name: The function's name.
        root: The folder with pyproject.toml.
        command: What `dagster-gcf-pipes dev` runs with the function, unless pyproject.toml says so.
        more_files: Further files to write, with their texts.

    Returns:
        The folder of the function.

    Raises:
        SettingsError: The name or the pyproject.toml is not valid, something is in the way, or a write failed.
    """
    relative = Path("functions", name)
    folder, pyproject = root / relative, root / PYPROJECT
    _check(name, folder, pyproject)
    try:
        text = with_function(_pyproject_text(pyproject), name, relative, command=command)
        with _new_folder(folder):
            _write_function(name, folder)
            pyproject.write_text(text, "utf-8", newline="")
            click.echo(f"added {name} to [tool.dagster-gcf-pipes.functions] of {pyproject}")
            for path, content in more_files.items():
                _write(path, content)
    except OSError as error:
        raise SettingsError(
            f"Expected to write into {root.absolute()}, got: {error}\n"
            f"Fix: Allow your user to write there, or run the command in another folder."
        ) from error
    return folder


def _check(name: str, folder: Path, pyproject: Path) -> None:
    load_table(pyproject)
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"Expected the name of a function: lowercase letters, digits and hyphens, at most 63 characters, the first "
            f"a letter. Got {name!r}."
        )
    if folder.exists():
        raise SettingsError(f"{folder} exists.\nFix: Choose another name, or delete the folder.")
    if folder.parent.exists() and not folder.parent.is_dir():
        raise SettingsError(f"Expected {folder.parent} to be a folder, got a file.\nFix: Rename the file.")


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make the folder. Delete it if what follows fails, so that the command can run again."""
    folder.mkdir(parents=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_function(name: str, folder: Path) -> None:
    for path, text in _function_files(name).items():
        _write(folder / path, text)
    if _is_on_no_index():
        _copy_gcf_pipes(folder / "gcf_pipes")


def _function_files(name: str) -> dict[str, str]:
    return {
        "main.py": _template("main.py", name),
        "requirements.txt": "".join(f"{line}\n" for line in _requirements()),
        f"test_{name.replace('-', '_')}.py": _template("test_orders.py", name),
        ".gcloudignore": _template("gcloudignore", name),
    }


def _template(file: str, name: str) -> str:
    """Read a template for this name: `function="..."` takes it as it is, and Python as an identifier."""
    return re.sub(
        rf'(function=")?{EXAMPLE}', lambda found: f"{found[1]}{name}" if found[1] else identifier_of(name), _read(file)
    )


def _read(file: str) -> str:
    return resources.files("dagster_gcf_pipes").joinpath("_templates").joinpath(file).read_text("utf-8")


def identifier_of(name: str) -> str:
    """Return the name of the asset: the function's, unless Python, Dagster or the template uses it."""
    identifier = name.replace("-", "_")
    words = {token.string for token in tokenize.generate_tokens(io.StringIO(_read("definitions.py")).readline)}
    taken = {*keyword.kwlist, *dir(builtins), *_RESERVED_BY_DAGSTER, *words} - {EXAMPLE}
    return f"{identifier}_asset" if identifier in taken else identifier


def _requirements() -> Iterator[str]:
    """Yield the requirements of the function: `gcf-pipes`, or what it needs itself if it lies beside `main.py`."""
    distribution = Distribution.from_name("gcf-pipes")
    yield "functions-framework>=3.8.2"
    if _is_on_no_index():
        yield from sorted(requirement for requirement in distribution.requires or [] if "extra ==" not in requirement)
    else:
        yield f"gcf-pipes=={distribution.version}"


def _is_on_no_index() -> bool:
    """Whether `gcf-pipes` was installed from a folder, file or URL. Then the platform's build may not find it.

    Source: https://packaging.python.org/en/latest/specifications/direct-url/ (written by the installer).
    """
    return Distribution.from_name("gcf-pipes").read_text("direct_url.json") is not None


def _copy_gcf_pipes(target: Path) -> None:
    with resources.as_file(resources.files("gcf_pipes")) as source:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    click.echo(f"wrote {target}/, version {version('gcf-pipes')}, because it was not installed from a package index")


def _pyproject_text(path: Path) -> str:
    """Return the text with its line endings and its byte order mark."""
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def with_function(text: str, name: str, folder: Path, *, command: str | None) -> str:
    """Return the text of a pyproject.toml with the function, and with the command of `dev` if it has none.

    Nothing in the text is replaced.

    Raises:
        SettingsError: The function is there with another folder, or there is no place for it.
    """
    import tomlkit

    document = tomlkit.parse(text.removeprefix(_BYTE_ORDER_MARK))
    ours = _subtable(_subtable(document, "tool", is_super_table=True), "dagster-gcf-pipes")
    if command:
        ours.setdefault("command", command)
    source = _subtable(ours, "functions").setdefault(name, folder.as_posix())
    if source != folder.as_posix():
        raise SettingsError(
            f"{TABLE} of {PYPROJECT} has the function {name!r} with the source {source!r}.\n"
            f"Fix: Choose another name, or remove that entry."
        )
    return _dump(document, like=text)


def _subtable(parent: MutableMapping[str, Any], key: str, *, is_super_table: bool | None = None) -> Any:
    import tomlkit
    from tomlkit.items import InlineTable

    inline = isinstance(parent, InlineTable)
    table = parent.setdefault(key, tomlkit.inline_table() if inline else tomlkit.table(is_super_table=is_super_table))
    if not isinstance(table, MutableMapping):
        raise SettingsError(f"Expected `{key}` in {PYPROJECT} to be a table, got {table!r}.")
    return table


def _dump(document: MutableMapping[str, Any], *, like: str) -> str:
    """Return the document as text, with the byte order mark and the line endings of another text."""
    import tomlkit

    text = tomlkit.dumps(document)
    if not _reads_as(text, document):  # tomlkit misplaces a table below dotted keys
        raise SettingsError(
            f"Expected a place for {TABLE} in {PYPROJECT}, got dotted keys, such as `tool.ruff.line-length`.\n"
            f"Fix: Write the keys below the lines of their tables, such as `[tool.ruff]` and `{TABLE}`."
        )
    if "\r\n" in like and not re.search(r"(?<!\r)\n", like):
        text = re.sub(r"(?<!\r)\n", "\r\n", text)
    return _BYTE_ORDER_MARK * like.startswith(_BYTE_ORDER_MARK) + text


def _reads_as(text: str, document: MutableMapping[str, Any]) -> bool:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(text) == document
    except TOMLKitError:
        return False


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    click.echo(f"wrote {path}")


def _print_next_steps(folder: Path, definitions: str | None) -> None:
    if definitions:
        click.echo(f"\n{DEFINITIONS} exists, so add to your definitions:\n\n{definitions}")
    click.echo(
        f"\nNext:\n"
        f"  dagster-gcf-pipes dev     runs Dagster and the function on this machine\n"
        f"  pytest {folder}   runs its test"
    )
