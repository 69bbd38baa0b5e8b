"""Hands messages to Dagster, several log lines as one entry while more of them wait.

Dagster's event log takes 1 to 10 ms for an entry, because SQLite and PostgreSQL get a new connection for each. A
function can write thousands of lines a second.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeAlias, TypedDict, cast

from dagster_pipes import PipesMessage

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""The levels that Dagster knows, from the lowest."""
DEFAULT_LINES_PER_ENTRY: Final = 200
"""Log lines that share an entry of the event log at most. `log_lines_per_entry` of the resource sets another number."""
DEFAULT_EVENT_LOG_LEVEL: Final = "debug"
MAX_ENTRY_CHARACTERS: Final = 64 * 1024
"""Characters of an entry of several log lines. A longer line is an entry by itself."""

_SEPARATOR: Final = "\n"
_STDOUT_FORMAT: Final = logging.Formatter("%(asctime)s - %(levelname)s - %(message)s", "%Y-%m-%d %H:%M:%S %z")
"""As Dagster's own lines in the step's stderr."""


class MessageHandlingError(RuntimeError):
    """Dagster could not handle a message."""


def handling_error(message: PipesMessage, where: str, error: BaseException) -> MessageHandlingError:
    """Return the error for a message that Dagster could not handle."""
    return MessageHandlingError(f"Dagster cannot handle the `{message['method']}` in {where}: {error}")


class _Line(TypedDict):
    message: str
    level: str


class LogEntries:
    """Hands messages to Dagster, in order and completely.

    While more messages wait, it keeps a log line until it knows whether the next line has the same level. Then both
    become one entry. A line that nothing waits behind is handed on at once, together with those that are kept.

    It may be given the messages of several sessions. It has no lock, so only one thread may use it at a time.

    Args:
        handle: Hands a message to Dagster.
        lines_per_entry: How many lines become one entry at most. With 1, each line is an entry by itself.
        event_log_level: The lowest level of the lines that become entries. The step's stdout gets the others.

    Raises:
        ValueError: There is no such level.
    """

    def __init__(
        self,
        handle: Callable[[PipesMessage], None],
        *,
        lines_per_entry: int = DEFAULT_LINES_PER_ENTRY,
        event_log_level: str = DEFAULT_EVENT_LOG_LEVEL,
    ) -> None:
        if event_log_level.upper() not in LEVELS:
            raise ValueError(f"Expected `event_log_level` to be one of {LEVELS}, got {event_log_level!r}.")
        self._handle = handle
        self._lines_per_entry = lines_per_entry
        self._lowest = LEVELS.index(event_log_level.upper())
        self._kept: list[tuple[PipesMessage, str]] = []
        self._level = ""
        self._characters = 0

    def add(self, message: PipesMessage, where: str, *, more_wait: bool) -> None:
        """Hand a message to Dagster, or keep a log line for an entry.

        Args:
            message: The message.
            where: Where the message is from, for the error text.
            more_wait: Whether another message waits already, or a call of `flush` is sure to follow soon.

        Raises:
            MessageHandlingError: Dagster could not handle this message, or the lines kept before it.
        """
        line = _line_of(message)
        if line is None:
            self.flush()
            self._hand_over(message, where)
        elif LEVELS.index(line["level"]) < self._lowest:
            self._hand_over(_for_stdout(message, line), where)  # nobody compares its place with that of an entry
        else:
            self._keep(message, line, where)
            if not more_wait or len(self._kept) >= self._lines_per_entry:
                self.flush()

    def flush(self) -> None:
        """Hand the kept lines to Dagster.

        Raises:
            MessageHandlingError: Dagster could not handle them.
        """
        if self._kept:
            kept, self._kept, self._characters = self._kept, [], 0
            (_, first), (_, last) = kept[0], kept[-1]
            self._hand_over(_joined([line for line, _ in kept]), first if len(kept) == 1 else f"{first} to {last}")

    def _keep(self, message: PipesMessage, line: _Line, where: str) -> None:
        size = len(line["message"])
        if line["level"] != self._level or self._characters + size > MAX_ENTRY_CHARACTERS:
            self.flush()
        self._level = line["level"]
        self._kept.append((message, where))
        self._characters += size + len(_SEPARATOR)

    def _hand_over(self, message: PipesMessage, where: str) -> None:
        try:
            self._handle(message)
        except BaseException as error:
            raise handling_error(message, where, error) from error


NewEntries: TypeAlias = Callable[[Callable[[PipesMessage], None]], LogEntries]
"""Returns what hands log lines to Dagster's handler."""


def _line_of(message: PipesMessage) -> _Line | None:
    """Return what a log line says; None for another message, and for a line that Dagster would refuse."""
    if message["method"] != "log":
        return None
    line = {"level": "INFO", **(message["params"] or {})}  # Dagster's own default
    is_known = line.keys() == _Line.__annotations__.keys() and isinstance(line["message"], str)
    return cast("_Line", line) if is_known and line["level"] in LEVELS else None


def _joined(lines: list[PipesMessage]) -> PipesMessage:
    if len(lines) == 1:
        return lines[0]
    params = [line["params"] or {} for line in lines]
    return {**lines[0], "params": {**params[0], "message": _SEPARATOR.join(each["message"] for each in params)}}


def _for_stdout(message: PipesMessage, line: _Line) -> PipesMessage:
    record = logging.makeLogRecord({"levelname": line["level"], "msg": line["message"]})
    return {
        **message,
        "method": "log_external_stream",
        "params": {"stream": "stdout", "text": f"{_STDOUT_FORMAT.format(record)}\n"},
    }
