"""The README agrees with the code, and its links lead somewhere."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SITE = "https://dagster-gcf-pipes.github.io/dagster-gcf-pipes/"
REPOSITORY = re.compile(
    r"https://(?:github|raw\.githubusercontent)\.com/dagster-gcf-pipes/dagster-gcf-pipes/(?:\w+/)?main/"
)
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", " ".join(README.split()))))


def code_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_code_is_what_init_writes() -> None:
    """The tests of `dagster-gcf-pipes init` run it."""
    templates = files("dagster_gcf_pipes").joinpath("_templates")
    written = [templates.joinpath(name).read_text() for name in ("main.py", "definitions.py")]
    assert code_blocks() == written


@pytest.mark.parametrize("side", [0, 1])
def test_each_side_is_ten_lines_of_code(side: int) -> None:
    assert len([line for line in code_blocks()[side].splitlines() if line]) <= 10


@pytest.mark.parametrize("link", LINKS)
def test_a_link_is_absolute_and_leads_to_a_page_or_file(link: str) -> None:
    """PyPI shows the README too, where relative links lead nowhere."""
    assert link.startswith("https://")
    if link.startswith(SITE):
        page = link.removeprefix(SITE).replace(".html", ".md") or "index.md"
        assert (ROOT / "docs" / page).exists()
    elif inside := REPOSITORY.match(link):
        assert (ROOT / link[inside.end() :]).exists()
