"""Writes a function that deploys, and an asset that calls it: `dagster-gcf-pipes init`."""

import re
import shutil
from collections.abc import Iterator
from importlib import resources
from importlib.metadata import Distribution, version
from pathlib import Path
from typing import Final

import click

from dagster_gcf_pipes.local._settings import SettingsError, load_table

EXAMPLE: Final = "orders"
"""The function in the templates. The name of the new function takes its place."""
DEFINITIONS: Final = Path("definitions.py")
PYPROJECT: Final = Path("pyproject.toml")
COMMAND: Final = f"dg dev -f {DEFINITIONS}"
_NAME: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""Source: https://cloud.google.com/sdk/gcloud/reference/functions/deploy, and for Cloud Run services
https://cloud.google.com/run/docs/deploying#service ("49 characters or less" with its suffix).
"""


def scaffold(name: str) -> None:
    """Write the folder `functions/NAME`, and what calls it, into the working directory. Nothing is overwritten.

    Raises:
        SettingsError: The name, or the pyproject.toml, is not valid, or the folder exists.
    """
    load_table(PYPROJECT)  # refuse a broken file before anything is written
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"Expected the name of a function: lowercase letters, digits and hyphens, at most 63 characters, the first "
            f"a letter. Got {name!r}."
        )
    folder = Path("functions", name)
    if folder.exists():
        raise SettingsError(f"{folder} exists.\nFix: Choose another name, or delete the folder.")
    folder.mkdir(parents=True)
    for path, text in _function_files(name).items():
        _write(folder / path, text)
    if _is_on_no_index():
        _copy_gcf_pipes(folder / "gcf_pipes")
    definitions = _template("definitions.py", name)
    if wrote_definitions := not DEFINITIONS.exists():
        _write(DEFINITIONS, definitions)
    _add_to_pyproject(name, folder, sets_command=wrote_definitions)
    _print_next_steps(folder, None if wrote_definitions else definitions)


def _function_files(name: str) -> dict[str, str]:
    return {
        "main.py": _template("main.py", name),
        "requirements.txt": "".join(f"{line}\n" for line in _requirements()),
        f"test_{_identifier(name)}.py": _template("test_orders.py", name),
        ".gcloudignore": _template("gcloudignore", name),
    }


def _template(file: str, name: str) -> str:
    text = resources.files("dagster_gcf_pipes").joinpath("_templates").joinpath(file).read_text("utf-8")
    text = text.replace(f'"{EXAMPLE}"', f'"{name}"')
    return re.sub(rf"\b{EXAMPLE}\b", _identifier(name), text) if name != EXAMPLE else text


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _requirements() -> Iterator[str]:
    """Yield the requirements of the function: `gcf-pipes`, or what it needs itself if it lies beside `main.py`."""
    distribution = Distribution.from_name("gcf-pipes")
    yield "functions-framework>=3.8.0"
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


def _add_to_pyproject(name: str, folder: Path, *, sets_command: bool) -> None:
    """Name the function for `dagster-gcf-pipes dev`."""
    import tomlkit

    document = tomlkit.parse(PYPROJECT.read_text("utf-8")) if PYPROJECT.exists() else tomlkit.document()
    tool = document.setdefault("tool", tomlkit.table(is_super_table=True))
    ours = tool.setdefault("dagster-gcf-pipes", tomlkit.table())
    if sets_command:
        ours.setdefault("command", COMMAND)
    ours.setdefault("functions", tomlkit.table())[name] = folder.as_posix()
    PYPROJECT.write_text(tomlkit.dumps(document), "utf-8")
    click.echo(f"added {name} to [tool.dagster-gcf-pipes.functions] of {PYPROJECT}")


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
