"""The screenshots of the README and the docs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import FloatRect, Locator, Page

SIDE = 24
MARGIN = 12
"""Pixels around the parts: beside them, and above and below them."""
PREPARE = """replacements => {
  document.activeElement.blur();  // no ring around it
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode())
    for (const [text, replacement] of Object.entries(replacements))
      nodes.currentNode.data = nodes.currentNode.data.replaceAll(text, replacement);
}"""


@dataclass(frozen=True)
class Screenshots:
    """Saves parts of pages, if there is a folder for them.

    Attributes:
        folder: Where the screenshots are saved, or None.
        replacements: Texts of this machine, such as its folders, with what a screenshot has instead.
    """

    folder: Path | None
    replacements: Mapping[str, str]

    def save(self, page: Page, name: str, *parts: Locator) -> None:
        """Save the rectangle around some parts of a page, with a margin."""
        page.mouse.move(0, 0)  # or the page marks what is below it
        boxes = [_box(part) for part in parts]
        size = page.viewport_size or {"width": 0, "height": 0}
        left = max(0, min(box["x"] for box in boxes) - SIDE)
        top = max(0, min(box["y"] for box in boxes) - MARGIN)
        right = min(size["width"], max(box["x"] + box["width"] for box in boxes) + SIDE)
        bottom = min(size["height"], max(box["y"] + box["height"] for box in boxes) + MARGIN)
        if self.folder:
            page.evaluate(PREPARE, dict(self.replacements))
            clip: FloatRect = {"x": left, "y": top, "width": right - left, "height": bottom - top}
            page.screenshot(path=self.folder / f"{name}.png", clip=clip, animations="disabled", caret="hide")


def _box(part: Locator) -> FloatRect:
    box = part.bounding_box()
    assert box, f"Expected {part} to be visible"
    return box
