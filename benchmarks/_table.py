"""The one table that the benchmark prints."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final

HEADINGS: Final = ("section", "metric", "bar", "ours", "stock")


@dataclass(frozen=True)
class Row:
    """One figure of both implementations.

    Attributes:
        section: What is measured.
        metric: The figure, with its unit.
        bar: The value that ours must reach, empty if there is none.
        ours: Our figure.
        stock: The stock figure, empty if it was not measured.
    """

    section: str
    metric: str
    bar: str
    ours: str
    stock: str


def format_table(rows: Sequence[Row]) -> str:
    """Format the rows as a Markdown table whose columns also line up as plain text."""
    cells = [HEADINGS, *(astuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
