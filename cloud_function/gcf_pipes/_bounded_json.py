"""Parses JSON from callers in bounded memory: hostile JSON can take forty times its size."""

import json
import re
from itertools import islice
from typing import Any, Final

_MARK: Final = re.compile(rb'"[^"]*"?|[\[{,:]')


def parse_json(data: bytes, *, max_marks: int) -> Any:
    """Parse JSON in UTF-8.

    Args:
        data: The JSON.
        max_marks: The limit of `has_more_marks`.

    Raises:
        ValueError: It is not JSON in UTF-8, is nested too deep, or has more marks.
    """
    if has_more_marks(data, max_marks):
        raise ValueError(f"it has more than {max_marks:,} opening brackets, commas, colons and strings")
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def has_more_marks(data: bytes, max_marks: int) -> bool:
    """Whether JSON has more opening brackets, commas, colons and strings than that. A long string counts once.

    Each becomes a Python object when parsed, which takes memory. This counts without parsing, up to the limit.
    """
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")  # now each string ends at its next quote
    return next(islice(_MARK.finditer(data), max_marks, None), None) is not None
