"""Environments with the packages of an earlier commit, built and installed as wheels."""

import subprocess
import sys
import sysconfig
import tarfile
from io import BytesIO
from pathlib import Path

from gcf_pipes._shared.protocol import PROTOCOL

ROOT = Path(__file__).parents[2]


class UnavailableError(Exception):
    """There is no environment of that commit. The text says why."""


def install(commit: str, folder: Path) -> Path:
    """Build both wheels of a commit, install them into an environment of their own, and return its folder.

    What the packages need, the environment borrows from this one. So nothing is downloaded.

    Raises:
        UnavailableError: The commit is not in this clone, or halves of it cannot work with those of this one.
    """
    environment = folder / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin/python"
    borrowed = sysconfig.get_path("purelib")
    paths = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    Path(paths.strip(), "borrowed.pth").write_text(f"{borrowed}\n")  # the .pth files in there are not read: no checkout
    _install(python, _build(_sources(commit, folder / "sources"), folder / "wheels"))
    return environment


def _sources(commit: str, folder: Path) -> Path:
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        raise UnavailableError(f"this clone has no {commit}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    text = (folder / "cloud_function/gcf_pipes/_shared/protocol.py").read_text()
    if "PROTOCOL: Final" in text and f"\nPROTOCOL: Final = {PROTOCOL}\n" not in text:
        raise UnavailableError(
            f"{commit} has another protocol: it refuses calls, as tests/integration/test_skew.py shows"
        )
    return folder


def _build(sources: Path, wheels: Path) -> list[Path]:
    for project in (sources, sources / "cloud_function"):
        _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels, cwd=project)
    return sorted(wheels.glob("*.whl"))


def _install(python: Path, wheels: list[Path]) -> None:
    offline = ("--offline", "--no-deps", "--no-cache", "--quiet")
    _run(sys.executable, "-m", "uv", "pip", "install", *offline, "--python", python, *wheels)


def _run(*command: str | Path, cwd: Path = ROOT) -> None:
    result = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout
