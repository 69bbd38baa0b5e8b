"""Lets a test serve a request in its own process, with a bucket of its own.

While `serve_with` runs, all parts use that bucket, whatever client they were made with and whichever buckets the
environment allows. Nothing sets this but `dagster_gcf_pipes.testing`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from google.cloud import storage

    from gcf_pipes._writer import PipesCloudStorageMessageWriter

ENTRY_POINT_ATTRIBUTE: Final = "__gcf_pipes_entry_point__"
"""Set on each entry point. Decorators that use `functools.wraps` keep it."""


@dataclass
class InProcessRequest:
    """A request that a test serves.

    Attributes:
        storage_client: A client of the bucket.
        message_writer: Writes the messages in place of the entry point's own writer, or None.
        reached: Whether the request has reached an entry point.
        error: What the function raised, or None.
    """

    storage_client: "storage.Client"
    message_writer: "PipesCloudStorageMessageWriter | None" = None
    reached: bool = False
    error: BaseException | None = None


_request: ContextVar[InProcessRequest | None] = ContextVar("gcf_pipes_in_process_request", default=None)


@contextmanager
def serve_with(request: InProcessRequest) -> Iterator[None]:
    """Serve the request in the block."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def in_process_request() -> InProcessRequest | None:
    """Return the request that a test serves now, or None."""
    return _request.get()
