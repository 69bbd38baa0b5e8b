"""The log of one of many calls."""

from logging import WARNING, Logger, LoggerAdapter
from typing import Any, TypeAlias

Log: TypeAlias = "Logger | LoggerAdapter[Logger]"


class KeyedLog(LoggerAdapter):  # type: ignore[type-arg]  # Python 3.10 takes none
    """Logs warnings and errors of a call with its key. Information about each of many calls would be too much."""

    def __init__(self, log: Logger, label: str) -> None:
        super().__init__(log, {})
        self._label = label

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name of the standard library
        """Whether a line of that level is logged."""
        return level >= WARNING and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put the key before the line."""
        return f"{self._label} {msg}", kwargs
