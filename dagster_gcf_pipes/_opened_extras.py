"""Reads what `opened` says about the execution."""

import math
from collections.abc import Mapping
from typing import Final, cast, get_type_hints

from gcf_pipes._protocol import OpenedExtras

MAX_FACT: Final = 256
"""Characters of a fact: a trace, an id, a name."""


def read_opened_extras(extras: object) -> OpenedExtras:
    """Return the facts that have the right type and a reasonable size. The bucket's content is untrusted."""
    types = get_type_hints(OpenedExtras)
    facts = extras.items() if isinstance(extras, Mapping) else ()
    known = {name: fact for name, fact in facts if _is_reasonable(fact, types.get(name))}
    return cast("OpenedExtras", known)


def _is_reasonable(fact: object, type_: object) -> bool:
    if type_ is float:  # JSON has one type of numbers
        return type(fact) in {int, float} and 0 < cast("float", fact) < math.inf
    return type(fact) is type_ and len(str(fact)) <= MAX_FACT
