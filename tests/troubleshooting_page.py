"""docs/operations/troubleshooting.md, as the tests hold it to the texts of the errors."""

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "docs" / "operations" / "troubleshooting.md"
FIRST_HOUR: Final = "The first hour"


def quotes(*, first_hour: bool) -> dict[str, list[str]]:
    """Return the quotes under each `###` heading, in the part about the first hour or in all others."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    text = "".join(part for title, part in zip(parts[::2], parts[1::2], strict=True) if _is(title) is first_hour)
    sections = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    blocks = (re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for text in sections[1::2])
    return {
        name: [" ".join(block.split()) for block in found] for name, found in zip(sections[::2], blocks, strict=True)
    }


def _is(title: str) -> bool:
    return title == FIRST_HOUR


def check_quote(quote: str, text: str) -> None:
    """Check that a text contains a quote; `...` in the quote stands for text that varies."""
    seen, position = " ".join(text.split()), 0
    for part in quote.split("..."):
        assert part.strip() in seen[position:]
        position = seen.index(part.strip(), position) + len(part.strip())
