"""The standard log levels, which both Dagster and Cloud Logging know."""

import logging
import re
from typing import Final

_LEVELS: Final = {
    logging.CRITICAL: "CRITICAL",
    logging.ERROR: "ERROR",
    logging.WARNING: "WARNING",
    logging.INFO: "INFO",
}


def standard_level(level: int) -> str:
    """Return the name of the nearest standard level at or below a level. DEBUG is the lowest."""
    return next((name for threshold, name in _LEVELS.items() if level >= threshold), "DEBUG")


def standard_level_of(name: str) -> str:
    """Return the same for a level's name: a standard one, one of `addLevelName`, or `Level 25`.

    An unknown name becomes INFO.
    """
    number = logging.getLevelName(name)  # given a name, it returns the number
    if isinstance(number, int):
        return standard_level(number)
    match = re.fullmatch(r"Level (-?[0-9]{1,9})", name)
    return standard_level(int(match[1])) if match else "INFO"
