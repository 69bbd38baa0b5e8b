"""Describes the exception that ended the function to Dagster: always, and within bounds.

`dagster_pipes` describes one by recursion, with all its text: that of 900 chained exceptions is never sent.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from traceback import TracebackException
from typing import Any, Literal, TypeVar

from dagster_pipes import PipesException

from gcf_pipes._protocol import MAX_EXCEPTION_CHAIN, MAX_EXCEPTION_CHARACTERS, RESPONSE_STATUS_EXCEPTION

_Link = Literal["cause", "context"]
_Node = TypeVar("_Node")


def describe_exception(error: BaseException) -> PipesException:
    """Return what Dagster is told of an exception: its message, stack and the exceptions that led to it."""
    try:
        return _bounded(_traceback(error), _links, _describe)
    except Exception as failure:  # noqa: BLE001 - see _indescribable
        return _exception(_indescribable(error, failure), name=type(error).__name__)


def format_exception(error: BaseException) -> str:
    """Return what Python prints of an exception."""
    try:
        return "".join(_traceback(error).format())
    except Exception as failure:  # noqa: BLE001 - see _indescribable
        return _indescribable(error, failure)


def describe_status(status: int, body: str) -> PipesException:
    """Return what Dagster is told of a response of the function's own that is not 2xx."""
    shown = f"Its body: {body}" if body else "Its body is empty."
    message = f"{RESPONSE_STATUS_EXCEPTION}: The function returned HTTP {status}, expected 2xx. {shown}\n"
    return _exception(message, name=RESPONSE_STATUS_EXCEPTION)


def bound_exception(exception: PipesException) -> PipesException:
    """Return a description within bounds, of one that others have made; a field that it lacks is empty."""
    return _bounded(exception, _links_of_description, _complete)


def _traceback(error: BaseException) -> TracebackException:
    return TracebackException(type(error), error, error.__traceback__, lookup_lines=False)


def _indescribable(error: BaseException, failure: Exception) -> str:
    """Python has no description of exception groups that are nested too deep, nor of one whose class is broken."""
    return f"{type(error).__name__}, which Python cannot describe because of {type(failure).__name__}\n"


def _bounded(
    root: _Node,
    links: Callable[[_Node], Iterable[tuple[_Link, _Node]]],
    describe: Callable[[_Node], PipesException],
) -> PipesException:
    """Describe an exception and those nearest to it, breadth first; say how many others there are."""
    top = _exception("")
    queue: deque[tuple[PipesException, _Link, _Node]] = deque([(top, "cause", root)])
    for _ in range(MAX_EXCEPTION_CHAIN):
        if not queue:
            break
        later, link, node = queue.popleft()
        full = describe(node)
        later[link] = kept = _exception(_cut(full["message"]), stack=_cut_stack(full["stack"]), name=full["name"])
        queue.extend((kept, earlier_link, earlier) for earlier_link, earlier in links(node))
    if queue:
        last, *_ = queue[0]
        count = sum(1 for _ in _all([node for *_, node in queue], links))
        last["message"] += f"{count:,} earlier exceptions are left out. See the function's log.\n"
    return top["cause"] or top


def _all(nodes: list[_Node], links: Callable[[_Node], Iterable[tuple[_Link, _Node]]]) -> Iterator[_Node]:
    while nodes:
        node = nodes.pop()
        yield node
        nodes.extend(earlier for _, earlier in links(node))


def _links(error: TracebackException) -> Iterator[tuple[_Link, TracebackException]]:
    if error.__cause__:
        yield "cause", error.__cause__
    if error.__context__:
        yield "context", error.__context__


def _links_of_description(exception: PipesException) -> Iterator[tuple[_Link, PipesException]]:
    if cause := exception.get("cause"):
        yield "cause", cause
    if context := exception.get("context"):
        yield "context", context


def _complete(exception: PipesException) -> PipesException:
    stack = [*exception.get("stack", ())]
    return _exception(exception.get("message", ""), stack=stack, name=exception.get("name"))


def _describe(error: TracebackException) -> PipesException:
    lines = [*error.format_exception_only()]
    for part in islice(_all_in_group(error), MAX_EXCEPTION_CHAIN):
        lines += (f"  {line}" for line in part.format_exception_only())
    return _exception("".join(lines), stack=error.stack.format(), name=_name(error))


def _all_in_group(error: TracebackException) -> Iterator[TracebackException]:
    """Yield the exceptions in an exception group, and in the groups inside."""
    inside: list[Any] = list(getattr(error, "exceptions", None) or ())  # Python 3.10 has none
    while inside:
        part = inside.pop(0)
        yield part
        inside[:0] = part.exceptions or ()


def _name(error: TracebackException) -> str | None:
    if sys.version_info >= (3, 13):
        return error.exc_type_str.rpartition(".")[2]
    return error.exc_type.__name__ if error.exc_type else None


def _exception(message: str, *, stack: Sequence[str] = (), name: str | None = None) -> PipesException:
    return {"message": message, "stack": stack, "name": name, "cause": None, "context": None}


def _cut_stack(stack: Sequence[str]) -> Sequence[str]:
    text = "".join(stack)
    return stack if len(text) <= MAX_EXCEPTION_CHARACTERS else [_cut(text)]


def _cut(text: str) -> str:
    """Keep the start and the end of a text that is too long."""
    if len(text) <= MAX_EXCEPTION_CHARACTERS:
        return text
    half = MAX_EXCEPTION_CHARACTERS // 2 - 50
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters are left out]\n{text[-half:]}"
