"""Each code block of the documentation is run, or says why not."""

import re
from pathlib import Path

import pytest

from tests.code_blocks import LANGUAGES

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *ROOT.glob("cloud_function/*.md")])
NOT_CODE = {"text", "console"}
REASON = re.compile(r'<!-- skip: next (?:if\(.+, reason=)?"[^"]{10,}"\)? -->')


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_block_is_run_or_says_why_not(page: Path) -> None:
    before = ""
    is_open = False
    for line in page.read_text().splitlines():
        if fence := re.match(r"\s*(```+|~~~+|:::+)(.*)", line):
            language = fence[2].strip()
            if not is_open and not language.startswith("{") and not REASON.fullmatch(before.strip()):
                assert language in LANGUAGES | NOT_CODE, f"no language that runs, and no reason why not: {line}"
            is_open = not is_open
        elif before.startswith("<!-- skip"):
            pytest.fail(f"{before!r} stands before {line!r}, not before a block")
        before = line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_skip_has_a_reason(page: Path) -> None:
    comments = re.findall(r"<!--.*skip.*-->", page.read_text())
    assert [comment for comment in comments if not REASON.fullmatch(comment)] == []
