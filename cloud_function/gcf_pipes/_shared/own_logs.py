"""Separates the runtime's own logs from the function's.

Logs of the runtime and of the libraries that it uses never become Pipes messages. Otherwise an upload could wait for
room for a message about itself, or fail in a handler that an earlier call left behind.
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
    """Mark logs of the block as the runtime's own."""
    token = _own.set(True)
    try:
        yield
    finally:
        _own.reset(token)


def are_own_logs() -> bool:
    """Whether logs of the calling code are the runtime's own."""
    return _own.get()


def log(level: int, text: str, *args: object, cause: BaseException | None = None) -> None:
    """Log a line of the runtime. It never raises, whatever the user's handlers and filters do.

    Args:
        level: A level of `logging`.
        text: The text, with `%` formats for the arguments.
        args: The arguments.
        cause: An error whose traceback is logged too.
    """
    with own_logs(), suppress(Exception):
        _logger.log(level, text, *args, exc_info=cause, stacklevel=2)
