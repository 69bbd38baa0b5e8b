"""The `requirements.txt` of a function: what is missing here, and an environment that has it."""

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dagster_gcf_pipes.local._settings import SettingsError


def missing_requirements(folder: Path) -> list[str]:
    """Return the requirements of a function that this environment does not satisfy.

    Options such as `--hash` or `-r`, and requirements without a version such as URLs, are not checked.

    Raises:
        SettingsError: The file cannot be read.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    missing = []
    for line in _lines(folder / "requirements.txt"):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            missing.append(line)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            missing.append(line)
    return missing


def isolated_python(folder: Path) -> Sequence[str]:
    """Return a command that runs Python in an environment with the requirements of a function and functions-framework.

    uv creates the environment, and keeps it in its cache: the next start takes a second.
    Source: https://docs.astral.sh/uv/reference/cli/#uv-run (`--isolated`, `--with-requirements`).
    """
    from uv import find_uv_bin

    requirements = folder.resolve() / "requirements.txt"
    return [
        find_uv_bin(),
        "run",
        "--quiet",
        "--isolated",
        "--no-project",
        "--python",
        f"{sys.version_info.major}.{sys.version_info.minor}",
        *(["--with-requirements", os.fspath(requirements)] if requirements.is_file() else []),
        "--with",
        "functions-framework",
        "--",
        "python",
    ]


def _lines(requirements: Path) -> Iterator[str]:
    """Yield the requirements of a file, without comments, options and hashes."""
    if not requirements.is_file():
        return
    try:
        text = requirements.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read {requirements}: {error}\nFix: Save it as UTF-8.") from error
    for line in text.replace("\\\n", " ").splitlines():
        requirement = line.partition(" #")[0].partition(" --")[0].strip()
        if requirement and not requirement.startswith(("#", "-")):
            yield requirement
