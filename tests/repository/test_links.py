"""Readers of the packages' pages on PyPI, and of the repository's documents, can follow each link."""

import re
from pathlib import Path

import pytest

from scripts.links import ROOT, URLS, broken_links

READMES = ["README.md", "cloud_function/README.md"]
"""What PyPI shows. Their links must be absolute."""
DOCUMENTS = ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"]
"""What GitHub shows. Their links may also name a file beside them."""
FORMS = [*ROOT.glob(".github/**/*.md"), *ROOT.glob(".github/**/*.yml")]


@pytest.mark.parametrize("readme", READMES)
def test_each_link_of_a_readme_is_absolute_and_leads_somewhere(readme: str) -> None:
    assert list(broken_links((ROOT / readme).read_text())) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_of_a_document_leads_somewhere(document: str) -> None:
    missing = [link for link in broken_links((ROOT / document).read_text()) if not (ROOT / link).exists()]
    assert missing == []


def test_the_map_of_the_modules_names_what_is_there() -> None:
    rows = re.findall(r"^\| (`.+) \|.*\|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert len(rows) > 8
    for row in rows:
        first, *others = [ROOT / path for path in re.findall(r"`([^`]+)`", row)]
        assert first.exists()
        assert all(other.exists() or (first.parent / other.relative_to(ROOT)).exists() for other in others)


@pytest.mark.parametrize(
    ("link", "broken"),
    [
        ("https://dagster.io", False),
        ("CHANGELOG.md", True),
        ("#install", True),
        ("http://dagster.io", True),
        (f"{URLS['Source']}/blob/main/LICENSE", False),
        (f"{URLS['Source']}/tree/main/terraform#roles", False),
        (f"{URLS['Source']}/blob/main/gone.py", True),
        (f"{URLS['Source'].replace('github.com', 'raw.githubusercontent.com')}/main/docs/images/run.png", False),
        (f"{URLS['Source'].replace('github.com', 'raw.githubusercontent.com')}/main/docs/images/gone.png", True),
        (URLS["Documentation"], False),
        (f"{URLS['Documentation']}reference/compatibility.html#python-and-dagster", False),
        (f"{URLS['Documentation']}gone.html", True),
    ],
)
@pytest.mark.parametrize("form", ["[text]({})", "[text]: {}", '<img src="{}">', "![image](<{}>)"])
def test_what_is_broken(form: str, link: str, broken: bool) -> None:
    assert list(broken_links(f"Some {'text'}.\n\n{form.format(link)}\n")) == [link] * broken


def test_code_has_no_links() -> None:
    assert list(broken_links("`names[0](x)`\n\n```python\nnames[0](x)\n```\n")) == []


@pytest.mark.parametrize("file", [*map(Path, READMES), *map(Path, DOCUMENTS), Path("docs/conf.py"), *FORMS], ids=str)
def test_the_repository_and_the_site_have_one_address(file: Path) -> None:
    text = (ROOT / file).read_text()
    ours = re.findall(
        r"https://github\.com/[\w.-]+/dagster-gcf-pipes\b|https://[\w.-]+\.github\.io/dagster-gcf-pipes/", text
    )
    assert set(ours) <= {URLS["Source"], URLS["Documentation"]}
