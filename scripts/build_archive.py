"""Builds the zip to deploy. The same source gives the same bytes on each machine, because the hash is in its name.

python scripts/build_archive.py cloud_function build/function.zip
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

DEPLOYED = ("main.py", "requirements.txt", "gcf_pipes", "tasks")
"""The files and folders to deploy, and no others."""


def build_archive(source: Path, archive: Path) -> None:
    """Write the deployed files below `source` into a zip."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(archive, "w", ZIP_STORED) as zip_file:  # compressed bytes would depend on the compressor's version
        for path in deployed_files(source):
            zip_file.writestr(_entry(path.relative_to(source).as_posix()), path.read_bytes())


def deployed_files(source: Path) -> list[Path]:
    """Return the deployed files below `source`, sorted, without caches and hidden files."""
    return sorted(path for path in _walk(source) if path.is_file() and not _is_left_out(path.relative_to(source)))


def _walk(source: Path) -> Iterator[Path]:
    for name in DEPLOYED:
        path = source / name
        if not path.exists():
            raise SystemExit(f"Expected {name} in {source}, as DEPLOYED in {__file__} names it, but it is not there.")
        yield path
        yield from path.rglob("*")


def _is_left_out(path: Path) -> bool:
    return "__pycache__" in path.parts or any(part.startswith(".") for part in path.parts)


def _entry(name: str) -> ZipInfo:
    """Return an entry without the file's time, mode and system, which would change the bytes."""
    entry = ZipInfo(name)
    entry.create_system = 3  # Unix, for the mode in the next line
    entry.external_attr = 0o100644 << 16
    return entry


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("archive", type=Path)
    arguments = parser.parse_args()
    build_archive(arguments.source, arguments.archive)
