"""Finds the links of a Markdown file that a reader on PyPI cannot follow."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import tomlkit

ROOT: Final = Path(__file__).parents[1]
URLS: Final = tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()["project"]["urls"]
"""The URLs of the project, which PyPI shows too."""

_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(<?([^)\s>]+)|^\[[^\]]+\]: *(\S+)|(?:src|href|srcset)=\"([^\"]+)\"", re.MULTILINE)


def broken_links(markdown: str, root: Path = ROOT) -> Iterator[str]:
    """Yield each link that is not absolute, or names no file of this repository and no page of its documentation."""
    for found in _LINK.finditer(_CODE.sub("", markdown)):
        link = found[1] or found[2] or found[3]
        if not _leads_somewhere(link.partition("#")[0], root):
            yield link


def _leads_somewhere(link: str, root: Path) -> bool:
    source = URLS["Source"]
    images = source.replace("github.com", "raw.githubusercontent.com")
    for prefix in (f"{source}/blob/main/", f"{source}/tree/main/", f"{images}/main/"):
        if link.startswith(prefix):
            return (root / link.removeprefix(prefix)).exists()
    if link.startswith(URLS["Documentation"]):
        page = link.removeprefix(URLS["Documentation"]).removesuffix(".html") or "index"
        return (root / "docs" / f"{page}.md").exists()
    return link.startswith("https://")
