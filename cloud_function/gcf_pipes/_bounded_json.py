"""Parses JSON that a caller sends, in memory that its size bounds: hostile JSON takes forty times its own."""

import json
import re
from itertools import islice
from typing import Any, Final

_MARK: Final = re.compile(rb'"[^"]*"?|[\[{,:]')


def parse_json(data: bytes, *, max_marks: int) -> Any:
    """Parse JSON in UTF-8.

    Args:
        data: The JSON.
        max_marks: The most marks that it may have; see `has_more_marks`.

    Raises:
        ValueError: It is no JSON in UTF-8, is nested too deeply, or has more marks.
    """
    if has_more_marks(data, max_marks):
        raise ValueError(f"it has more than {max_marks:,} opening brackets, commas, colons and strings")
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def has_more_marks(data: bytes, max_marks: int) -> bool:
    """Whether JSON has more opening brackets, commas, colons and strings than that; a long text is a single one.

    What they make takes memory, not the bytes. It is told without parsing, and looks no further than the bound.
    """
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")  # what is left of each string ends at its next quote
    return next(islice(_MARK.finditer(data), max_marks, None), None) is not None
