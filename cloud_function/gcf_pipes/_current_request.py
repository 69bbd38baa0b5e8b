"""The request that the calling code serves, for what a function may ask at any place in its code."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from gcf_pipes._execution import Execution
from gcf_pipes._message_writer import PipesCloudStorageMessageWriterChannel


@dataclass(frozen=True)
class CurrentRequest:
    """A request while the function's code runs.

    Attributes:
        execution: What is known of it.
        channel: Where its messages go.
    """

    execution: Execution
    channel: PipesCloudStorageMessageWriterChannel


_current: ContextVar[CurrentRequest] = ContextVar("gcf_pipes_current_request")


@contextmanager
def current_request(request: CurrentRequest) -> Iterator[None]:
    """Make a request the current one while the block runs."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def pipes_cancelled() -> bool:
    """Whether Dagster has terminated the run of the current request; for a long loop that makes no Pipes calls.

    A thread that the function starts sees it if it runs in a copy of the context (`contextvars.copy_context`); a forked
    child process sees what was known when it was forked.
    """
    request = _current.get(None)
    return request is not None and request.channel.cancelled


def pipes_traceparent() -> str | None:
    """The `traceparent` header for the calls that the current request makes, so that they belong to its trace.

        requests.post(url, headers={"traceparent": pipes_traceparent()})

    It names the caller's span as the parent, as a service does that records no spans of its own. Cloud Run gives every
    request a trace; None where the request names none, and outside a request. A thread that the function starts sees
    it if it runs in a copy of the context (`contextvars.copy_context`).
    """
    request = _current.get(None)
    trace = request.execution.trace if request else None
    return trace.traceparent if trace else None
