"""The errors that the documentation quotes: the tests that provoke them write the quotes, or compare them.

A page has a quote where it has its name, in as many pages as need it:

    <!-- quote: no_bucket -->
    ```text
    ```

`just quotes` runs these tests, and writes their errors into the pages.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

Quote: TypeAlias = Callable[[str, str], None]

PAGES: Final = Path(__file__).parents[1] / "docs"
WRITE: Final = "WRITE_QUOTES" in os.environ
_BLOCK: Final = re.compile(
    r"(?<=^<!-- quote: )(?P<name>\w+)(?P<fence> -->\n```text\n)(?P<text>.*?)(?=^```$)", re.MULTILINE | re.DOTALL
)
_VARYING: Final = {
    r"bucket-[0-9a-f]{32}": "lake",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "RUN_ID",
    r"\b[0-9a-f]{32}\b": "CALL_ID",
    r"127\.0\.0\.1:\d+": "127.0.0.1:8080",
    r"--port=\d+": "--port=8080",
    r"\b\d+\.\d+ s\b": "0.5 s",
    r"\bunder way after \d+ s": "under way after 30 s",
    r"\bsign of life for \d+ s": "sign of life for 30 s",
    r"\b\d+ messages? in \d+ chunks?": "3 messages in 2 chunks",
    r"\bcontext has [\d,]+ bytes": "context has 750,000 bytes",
    r"input_value=.*?, input_type": "input_value=..., input_type",
    r"errors\.pydantic\.dev/[\d.]+/": "errors.pydantic.dev/2/",
}
"""What differs from run to run, and what a page has in its place."""


def check_quote(name: str, error: str) -> None:
    """Compare the text of an error with its quotes, or write it there."""
    text = f"{_without_varying(error).rstrip()}\n"
    pages = [page for page in PAGES.rglob("*.md") if any(found == name for found, _ in quotes(page))]
    assert pages, f"No page quotes this error: put an empty block after `<!-- quote: {name} -->`.\n{text}"
    for page in pages:
        if WRITE:
            _write(page, name, text)
        quoted = dict(quotes(page))[name]
        assert quoted == text, f"{page.name} quotes another text as {name}. `just quotes` corrects it."


def quotes(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each quote in a page."""
    return ((found["name"], found["text"]) for found in _BLOCK.finditer(page.read_text()))


def _write(page: Path, name: str, text: str) -> None:
    def replaced(found: re.Match[str]) -> str:
        return f"{name}{found['fence']}{text}" if found["name"] == name else found[0]

    page.write_text(_BLOCK.sub(replaced, page.read_text()))


def _without_varying(text: str) -> str:
    for pattern, constant in _VARYING.items():
        text = re.sub(pattern, constant, text)
    return text
