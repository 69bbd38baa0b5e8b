"""The request that the calling code serves, for use anywhere in the function's code."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from gcf_pipes._channel import SessionChannel
from gcf_pipes._execution import Execution


@dataclass(frozen=True)
class CurrentRequest:
    """A request while the function's code runs.

    Attributes:
        execution: Facts about it.
        channel: Where its messages go.
    """

    execution: Execution
    channel: SessionChannel


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
    """Whether Dagster has terminated the run of the current request. Use it in long loops without Pipes calls.

    A thread that the function starts must run in a copy of the context (`contextvars.copy_context`). A forked child
    process sees the value at the time of the fork.
    """
    request = _current.get(None)
    return request is not None and request.channel.cancelled


def pipes_traceparent() -> str | None:
    """The `traceparent` header for calls that the current request makes, so that they join its trace.

    For example::

        requests.post(url, headers={"traceparent": pipes_traceparent()})

    The parent is the caller's span, because the function records no spans of its own. Cloud Run gives every request a
    trace. None if the request has no trace, and outside a request. A thread that the function starts must run in a
    copy of the context (`contextvars.copy_context`).
    """
    request = _current.get(None)
    trace = request.execution.trace if request else None
    return trace.traceparent if trace else None
