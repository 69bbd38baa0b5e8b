"""Lets a test serve a request in its own process, with parts that use a bucket of the test.

An entry point has its context loader and its message writer from the time when it was decorated. While `serve_with`
runs, the entry point takes those of the test instead. Nothing else uses this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dagster_pipes import PipesContextLoader

if TYPE_CHECKING:
    from gcf_pipes._writer import PipesCloudStorageMessageWriter

ENTRY_POINT_ATTRIBUTE: Final = "__gcf_pipes_entry_point__"
"""Set on each entry point. Decorators that use `functools.wraps` keep it."""


@dataclass
class InProcessRequest:
    """A request that a test serves.

    Attributes:
        context_loader: Loads the context.
        message_writer: Writes the messages.
        reached: Whether the request has reached an entry point.
        error: What the function raised, or None.
    """

    context_loader: PipesContextLoader
    message_writer: "PipesCloudStorageMessageWriter"
    reached: bool = False
    error: BaseException | None = None


_request: ContextVar[InProcessRequest | None] = ContextVar("gcf_pipes_in_process_request", default=None)


@contextmanager
def serve_with(request: InProcessRequest) -> Iterator[None]:
    """Let an entry point that is called in the block use the parts of the request."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def in_process_request() -> InProcessRequest | None:
    """Return the request that a test serves now, or None."""
    return _request.get()
