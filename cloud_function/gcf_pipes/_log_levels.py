"""The log levels that Dagster and Cloud Logging know by name."""

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
    """Return the name of the standard level that is at or next below a level; DEBUG is the lowest."""
    return next((name for threshold, name in _LEVELS.items() if level >= threshold), "DEBUG")


def standard_level_of(name: str) -> str:
    """Return the same for the name by which logging calls a level: its own, one of `addLevelName`, or `Level 25`.

    A name that logging does not know is taken for INFO.
    """
    number = logging.getLevelName(name)  # of a name, it is the number
    if isinstance(number, int):
        return standard_level(number)
    match = re.fullmatch(r"Level (-?[0-9]{1,9})", name)
    return standard_level(int(match[1])) if match else "INFO"
