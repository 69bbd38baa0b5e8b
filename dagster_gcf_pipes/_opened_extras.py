"""Reads what `opened` tells of the function's execution."""

from collections.abc import Mapping
from typing import Final, cast, get_type_hints

from gcf_pipes._protocol import OpenedExtras

MAX_FACT: Final = 256
"""Characters of a fact: a trace, an id, a name."""


def read_opened_extras(extras: object) -> OpenedExtras:
    """Return the facts that are of the right type and a reasonable length; what came from the bucket is not trusted."""
    types = get_type_hints(OpenedExtras)
    facts = extras.items() if isinstance(extras, Mapping) else ()
    known = {name: fact for name, fact in facts if type(fact) is types.get(name) and len(str(fact)) <= MAX_FACT}
    return cast("OpenedExtras", known)
