"""Lists of objects, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_PAGE: Final = 1000
"""Names in a page of a list. Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list (`maxResults`)."""


@dataclass(frozen=True)
class Page:
    """A part of a list of objects.

    Attributes:
        names: The names, in their order in the bucket: that of their UTF-8 bytes.
        is_last: Whether there are no more.
    """

    names: Sequence[str]
    is_last: bool
