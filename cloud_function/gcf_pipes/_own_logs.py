"""Tells what the runtime itself logs from what the function logs.

What the runtime and the libraries beneath it log on their way to Cloud Storage never becomes a Pipes message: an upload
would wait for room for a message about itself, and a handler left behind by an earlier run would fail it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final

_logger: Final = logging.getLogger("gcf_pipes")
_own: ContextVar[bool] = ContextVar("gcf_pipes_own_logs", default=False)


@contextmanager
def own_logs() -> Iterator[None]:
    """What is logged while the block runs is the runtime's own."""
    token = _own.set(True)
    try:
        yield
    finally:
        _own.reset(token)


def are_own_logs() -> bool:
    """Whether the calling code is the runtime's own."""
    return _own.get()


def log(level: int, text: str, *args: object, cause: BaseException | None = None) -> None:
    """Log a line of the runtime's. It never raises, whatever the user's handlers and filters do.

    Args:
        level: Of `logging`.
        text: The text, with `%` formats for the arguments.
        args: The arguments.
        cause: An error whose traceback is printed too.
    """
    with own_logs(), suppress(Exception):
        _logger.log(level, text, *args, exc_info=cause, stacklevel=2)
