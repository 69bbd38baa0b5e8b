"""The archive that is deployed holds what is needed, and is the same wherever it is built."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.terraform.modules import ROOT

SOURCE = ROOT / "cloud_function"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the function's folder, free of what a machine has left in it."""
    left = shutil.ignore_patterns("__pycache__", ".*")
    return Path(shutil.copytree(SOURCE, tmp_path / "source", ignore=left))


def build(source: Path, *, umask: int = 0o022) -> Path:
    archive = source.parent / "build" / "function.zip"
    command = [sys.executable, str(ROOT / "scripts/build_archive.py"), str(source), str(archive)]
    subprocess.run(command, check=True, umask=umask)
    return archive


def digest(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def test_it_holds_the_function_its_packages_and_its_requirements(source: Path) -> None:
    with ZipFile(build(source)) as archive:
        names = archive.namelist()
        contents = {name: archive.read(name) for name in names}
    assert {name.split("/")[0] for name in names} == {"main.py", "requirements.txt", "gcf_pipes", "tasks"}
    assert {name for name in names if "/" not in name} == {"main.py", "requirements.txt"}
    assert contents == {name: (SOURCE / name).read_bytes() for name in names}
    assert {path.relative_to(SOURCE / "gcf_pipes").as_posix() for path in (SOURCE / "gcf_pipes").rglob("*.py")} == {
        name.removeprefix("gcf_pipes/") for name in names if name.startswith("gcf_pipes/") and name.endswith(".py")
    }


def test_it_is_the_same_for_the_same_source(source: Path) -> None:
    before = digest(build(source))
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert digest(build(source, umask=0o077)) == before


def test_files_that_are_not_deployed_do_not_change_it(source: Path) -> None:
    before = digest(build(source))
    for name in (
        "tasks/__pycache__/event.cpython-313.pyc",
        "gcf_pipes/.env",
        ".venv/lib/python3.13/site-packages/flask/app.py",
        "venv/bin/python",
        "tests/test_main.py",
        "credentials.json",
        "tasks/.ruff_cache/0.15/1",
    ):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
    assert digest(build(source)) == before


@pytest.mark.parametrize("name", ["main.py", "requirements.txt", "gcf_pipes/_shared/storage.py", "tasks/orders.sql"])
def test_a_change_of_a_deployed_file_changes_it(source: Path, name: str) -> None:
    before = digest(build(source))
    with (source / name).open("a") as file:
        file.write("\n")
    assert digest(build(source)) != before


def test_a_missing_part_is_an_error(source: Path) -> None:
    (source / "requirements.txt").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        build(source)
