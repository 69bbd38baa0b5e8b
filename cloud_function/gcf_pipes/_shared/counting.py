"""Numbers with their nouns, for the texts of both halves."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 message`, `2,000 messages`, `3 entries`."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of a noun."""
    return f"{noun.removesuffix('y')}ies" if noun.endswith("ry") else f"{noun}s"
