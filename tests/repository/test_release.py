"""`just release` accepts a repository that is ready for a release, and names each thing that is wrong with another."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gcf_pipes._shared.protocol import VERSION

ROOT = Path(__file__).parents[2]
SOURCES = (
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "cloud_function",
    "dagster_gcf_pipes",
    "docs",
    "pyproject.toml",
    "scripts",
)
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that is ready for a release."""
    repository = tmp_path_factory.mktemp("ready")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, repository / name)
    (repository / "README.md").write_text("# dagster-gcf-pipes\n\nSee [Dagster](https://dagster.io).\n")
    replace("CHANGELOG.md", "## [Unreleased]\n", f"## [Unreleased]\n\n## [{VERSION}] - 2026-11-22\n")(repository)
    git(repository, "init", "--quiet", "--initial-branch", "main")
    commit(repository)
    return repository


@pytest.fixture
def repository(ready: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(ready, tmp_path / "repository")


def git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True)


def commit(repository: Path) -> None:
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "A change")


def release(repository: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.check_release", VERSION]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def replace(file: str, old: str, new: str) -> Change:
    def change(repository: Path) -> None:
        text = (repository / file).read_text()
        assert old in text
        (repository / file).write_text(text.replace(old, new, 1))

    return change


def append(file: str, text: str) -> Change:
    return lambda repository: (repository / file).write_text((repository / file).read_text() + text)


def empty(file: str) -> Change:
    return lambda repository: (repository / file).write_text("")


def tag(repository: Path) -> None:
    git(repository, "tag", f"v{VERSION}")


def leave_main(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "feature")


def test_a_ready_repository_is_built_and_the_commands_are_printed(repository: Path) -> None:
    done = release(repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"git push --atomic origin main v{VERSION}" in done.stdout
    distributions = {file.name for file in (repository / "dist").iterdir()} - {".gitignore"}
    stems = (f"gcf_pipes-{VERSION}", f"dagster_gcf_pipes-{VERSION}")
    assert distributions == {f"{stem}{suffix}" for stem in stems for suffix in ("-py3-none-any.whl", ".tar.gz")}
    assert (repository / "build/release-notes.md").read_text().startswith("### Added\n")
    status = subprocess.check_output(["git", "status", "--porcelain"], cwd=repository, text=True)
    assert status == ""


def test_the_tagged_commit_passes_again_in_a_detached_checkout(repository: Path) -> None:
    """That is where the workflow runs it."""
    tag(repository)
    git(repository, "checkout", "--quiet", f"v{VERSION}")
    assert release(repository).returncode == 0


def test_a_changed_file_is_refused(repository: Path) -> None:
    (repository / "new.py").touch()
    assert refusal(repository).startswith("Expected a clean tree, got:\n?? new.py\n")


@pytest.mark.parametrize(
    ("before", "problem"), [(leave_main, "Expected a commit of main"), (tag, f"Expected v{VERSION} to be a new tag")]
)
def test_a_wrong_commit_is_refused(repository: Path, before: Change, problem: str) -> None:
    before(repository)
    commit(repository)
    assert refusal(repository).startswith(problem)


VERSIONS = {
    "pyproject.toml": ("pyproject.toml", f'version = "{VERSION}"', 'version = "9.9.9"'),
    "cloud_function/pyproject.toml": ("cloud_function/pyproject.toml", f'version = "{VERSION}"', 'version = "9.9.9"'),
    "the dependency on gcf-pipes": ("pyproject.toml", f'"gcf-pipes=={VERSION}"', '"gcf-pipes==9.9.9"'),
    "cloud_function/gcf_pipes/_shared/protocol.py": (
        "cloud_function/gcf_pipes/_shared/protocol.py",
        f'VERSION: Final = "{VERSION}"',
        'VERSION: Final = "9.9.9"',
    ),
}


@pytest.mark.parametrize("place", VERSIONS)
def test_each_place_of_the_version_is_checked(repository: Path, place: str) -> None:
    replace(*VERSIONS[place])(repository)
    commit(repository)
    assert refusal(repository).startswith(f"Expected version {VERSION} in {place}, got 9.9.9.\n")


@pytest.mark.parametrize(
    "change",
    [
        replace("CHANGELOG.md", f"## [{VERSION}] - 2026-11-22\n", ""),
        replace("CHANGELOG.md", f"## [{VERSION}] - 2026-11-22\n", f"## [{VERSION}]\n"),
        replace(
            "CHANGELOG.md",
            f"## [{VERSION}] - 2026-11-22\n",
            f"## [{VERSION}] - 2026-11-22\n\n## [0.0.1] - 2025-01-01\n",
        ),
    ],
    ids=["no section", "no date", "no text"],
)
def test_the_changelog_must_have_the_release(repository: Path, change: Change) -> None:
    change(repository)
    commit(repository)
    assert refusal(repository).startswith(f"Expected a section for {VERSION} with text in CHANGELOG.md, got none.\n")


@pytest.mark.parametrize("readme", ["README.md", "cloud_function/README.md"])
def test_the_links_of_each_readme_are_checked(repository: Path, readme: str) -> None:
    append(readme, "\n[The licence](LICENSE)\n")(repository)
    commit(repository)
    assert refusal(repository).startswith(f"Expected absolute links to existing pages in {readme}, got LICENSE.\n")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            append(
                "cloud_function/pyproject.toml",
                '\n[tool.hatch.build.targets.wheel.force-include]\n"README.md" = "tests/README.md"\n',
            ),
            "Expected the wheel of gcf_pipes to have the package's files, but it also has tests/README.md.",
        ),
        (
            append("cloud_function/pyproject.toml", 'exclude = ["py.typed"]\n'),
            "Expected the sdist of gcf_pipes to have the package's files, but it lacks gcf_pipes/py.typed.",
        ),
        (
            replace("pyproject.toml", '"/CHANGELOG.md", ', ""),
            "Expected the sdist of dagster_gcf_pipes to have the package's files, but it lacks CHANGELOG.md.",
        ),
        (empty("cloud_function/README.md"), "`long_description` missing"),
    ],
    ids=["a file too many", "no py.typed", "no changelog", "no description"],
)
def test_the_distributions_are_checked(repository: Path, change: Change, problem: str) -> None:
    change(repository)
    commit(repository)
    assert problem in refusal(repository)


def refusal(repository: Path) -> str:
    """Return why the release is refused."""
    done = release(repository)
    assert done.returncode != 0
    assert "git push" not in done.stdout
    return done.stderr + done.stdout
