"""Checks everything that a release needs, and prints the commands that publish it.

python -m scripts.check_release 0.2.0

It builds the distributions into `dist` and the release notes into `build`, and changes nothing else.
"""

import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import tomlkit

from scripts.links import broken_links

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = {"dagster_gcf_pipes": ROOT, "gcf_pipes": ROOT / "cloud_function"}
"""The packages, and the folders of their projects."""

PROTOCOL: Final = "cloud_function/gcf_pipes/_shared/protocol.py"
DIST: Final = ROOT / "dist"
NOTES: Final = ROOT / "build/release-notes.md"


def main(version: str) -> None:
    """Check the sources. If they are right, build and check the distributions."""
    notes = release_notes(version)
    _stop_at([*git_problems(version), *version_problems(version), *link_problems(), *_missing_notes(version, notes)])
    _run(
        "uv",
        "build",
        "--quiet",
        "--all-packages",
        "--clear",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        str(DIST),
    )
    _stop_at([problem for package in PACKAGES for problem in distribution_problems(package, version)])
    _run("twine", "check", "--strict", *map(str, [*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")]))
    NOTES.parent.mkdir(exist_ok=True)
    NOTES.write_text(notes)
    print(  # noqa: T201  # what the command is for
        f"\nThese commands release {version}:\n\n"
        f"    git tag --annotate v{version} --message v{version}\n"
        f"    git push --atomic origin main v{version}"
    )


def git_problems(version: str) -> Iterator[str]:
    """Yield what is wrong with the commit. It must be on main, nothing may be changed, and the tag must be new."""
    if changed := _git("status", "--porcelain"):
        yield f"Expected a clean tree, got:\n{changed}\nFix: Commit these files, or delete them."
    if not _git("for-each-ref", "--contains", "HEAD", "refs/heads/main", "refs/remotes/origin/main"):
        yield "Expected a commit of main, got one that is on other branches only.\nFix: Merge it, and check out main."
    tag = f"v{version}"
    if _git("tag", "--list", tag) and _git("rev-list", "-1", tag) != _git("rev-parse", "HEAD"):
        yield f"Expected {tag} to be a new tag, got the tag of another commit.\nFix: Release the next version."


def version_problems(version: str) -> Iterator[str]:
    """Yield each place that has another version."""
    for place, found in _versions().items():
        if found != version:
            yield f"Expected version {version} in {place}, got {found}.\nFix: Write it there, and run `uv lock`."


def link_problems() -> Iterator[str]:
    """Yield the links of each README that a reader on PyPI cannot follow."""
    for folder in PACKAGES.values():
        readme = folder / "README.md"
        if links := list(broken_links(readme.read_text(), ROOT)):
            yield (
                f"Expected absolute links to existing pages in {readme.relative_to(ROOT)}, got {', '.join(links)}.\n"
                f"Fix: Write the https URL of each page."
            )


def release_notes(version: str) -> str:
    """Return the text of the version's dated section in the changelog, or an empty text."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    text = (ROOT / "CHANGELOG.md").read_text()
    section = re.search(rf"{heading}(.*?)(?=^## |^\[[^\]]+\]: |\Z)", text, re.DOTALL | re.MULTILINE)
    return section[1].strip() + "\n" if section else ""


def distribution_problems(package: str, version: str) -> Iterator[str]:
    """Yield how the files in the package's wheel and sdist differ from what belongs there."""
    stem = f"{package}-{version}"
    info = f"{stem}.dist-info"
    code = _tracked(package)
    with ZipFile(DIST / f"{stem}-py3-none-any.whl") as wheel:
        licence = f"{info}/licenses/LICENSE"
        names = {name for name in wheel.namelist() if name == licence or not name.startswith(info)}
    yield from _differences("the wheel", package, names, {*code, licence})
    with tarfile.open(DIST / f"{stem}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    extra = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    changelog = {"CHANGELOG.md"} if PACKAGES[package] == ROOT else set()
    yield from _differences("the sdist", package, names, {*code, *extra, *changelog})


def _versions() -> dict[str, str]:
    files = [folder.relative_to(ROOT) / "pyproject.toml" for folder in PACKAGES.values()]
    versions = {str(file): str(tomlkit.parse((ROOT / file).read_text())["project"]["version"]) for file in files}
    (pin,) = re.findall(r'"gcf-pipes==([^"]+)"', (ROOT / "pyproject.toml").read_text())
    (protocol,) = re.findall(r'^VERSION: Final = "(.+)"$', (ROOT / PROTOCOL).read_text(), re.MULTILINE)
    return {**versions, "the dependency on gcf-pipes": pin, PROTOCOL: protocol}


def _missing_notes(version: str, notes: str) -> Iterator[str]:
    if not notes.strip():
        yield (
            f"Expected a section for {version} with text in CHANGELOG.md, got none.\n"
            f"Fix: Move the unreleased changes below `## [{version}] - YYYY-MM-DD`, with the date."
        )


def _tracked(package: str) -> set[str]:
    folder = PACKAGES[package]
    return set(_git("-C", str(folder), "ls-files", package).splitlines())


def _differences(what: str, package: str, names: set[str], expected: set[str]) -> Iterator[str]:
    for verb, wrong in (("lacks", expected - names), ("also has", names - expected)):
        if wrong:
            yield (
                f"Expected {what} of {package} to have the package's files, but it {verb} {', '.join(sorted(wrong))}.\n"
                f"Fix: Correct [tool.hatch.build] in its pyproject.toml."
            )


def _stop_at(problems: list[str]) -> None:
    if problems:
        raise SystemExit("\n\n".join(problems))


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()  # noqa: S607


def _run(module: str, *arguments: str) -> None:
    if (code := subprocess.call([sys.executable, "-m", module, *arguments], cwd=ROOT)) != 0:
        raise SystemExit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
