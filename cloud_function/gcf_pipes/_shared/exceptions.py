"""Describes exceptions to Dagster: any exception, and within bounds.

`dagster_pipes` describes exceptions by recursion and in full. So it fails to send a chain of 900 exceptions.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from traceback import TracebackException
from typing import Any, Final, Literal, TypeVar, get_args

from dagster_pipes import PipesException

from gcf_pipes._shared.counting import counted
from gcf_pipes._shared.protocol import MAX_EXCEPTION_CHAIN, MAX_EXCEPTION_CHARACTERS, RESPONSE_STATUS_EXCEPTION

MAX_COUNTED: Final = 10_000
"""Up to this number, exceptions that are left out are counted."""

_Link = Literal["cause", "context"]
_LINKS: Final[tuple[_Link, ...]] = get_args(_Link)
_Node = TypeVar("_Node")


def describe_exception(error: BaseException) -> PipesException:
    """Return an exception's message and stack, and those of the exceptions that led to it."""
    try:
        return _bounded(_traceback(error), _links, _describe)
    except BaseException as failure:  # noqa: BLE001 - see _indescribable
        return _exception(_indescribable(error, failure), name=_class_name(error))


def format_exception(error: BaseException) -> str:
    """Return what Python prints for an exception."""
    try:
        return "".join(_traceback(error).format())
    except BaseException as failure:  # noqa: BLE001 - see _indescribable
        return _indescribable(error, failure)


def is_describable(error: BaseException) -> bool:
    """Whether Python can describe an exception, so that others can log it."""
    try:
        _traceback(error)
    except BaseException:  # noqa: BLE001 - see _indescribable
        return False
    return True


def describe_status(status: int, body: str) -> PipesException:
    """Describe as an exception a function's response that is not 2xx."""
    shown = f"Its body: {body}" if body else "Its body is empty."
    message = f"{RESPONSE_STATUS_EXCEPTION}: The function returned HTTP {status}, expected 2xx. {shown}\n"
    return _exception(message, name=RESPONSE_STATUS_EXCEPTION)


def bound_exception(exception: object) -> PipesException:
    """Return a bounded description of an exception that other code reports.

    The argument may be a description, an exception or just a message. Missing fields become empty.
    """
    try:
        return _bounded(_description(exception), _links_of_description, _complete)
    except BaseException as failure:  # noqa: BLE001 - see _indescribable
        return _exception(_indescribable(exception, failure), name=_class_name(exception))


def limit_exception(exception: Mapping[str, Any]) -> PipesException:
    """Return a description within the same bounds. Fields of a wrong type stay as they are."""
    return _bounded(exception, _inner_descriptions, _without_inner_descriptions)


def _traceback(error: BaseException) -> TracebackException:
    return TracebackException(type(error), error, error.__traceback__, lookup_lines=False)


def _indescribable(error: object, failure: BaseException) -> str:
    """Describe an exception that Python cannot describe: a very deep exception group, or one of a broken class.

    A broken class may raise anything. That must not keep Dagster from learning the outcome.
    """
    return f"{_class_name(error)}, which Python cannot describe because of {_class_name(failure)}\n"


def _class_name(value: object) -> str:
    """Return the name of a value's class, even if the class or its metaclass is broken."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


def _bounded(
    root: _Node,
    links: Callable[[_Node], Iterable[tuple[_Link, _Node]]],
    describe: Callable[[_Node], PipesException],
) -> PipesException:
    """Describe an exception and those nearest to it, breadth first, and count the rest."""
    top: dict[str, Any] = {}
    queue: deque[tuple[Any, _Link, _Node]] = deque([(top, "cause", root)])
    for _ in range(MAX_EXCEPTION_CHAIN):
        if not queue:
            break
        later, link, node = queue.popleft()
        later[link] = kept = _shortened_texts(describe(node))
        queue.extend((kept, earlier_link, earlier) for earlier_link, earlier in links(node))
    if queue and isinstance((last := queue[0][0]).get("message"), str):
        others = _all([node for *_, node in queue], links)
        count = sum(1 for _ in islice(others, MAX_COUNTED))  # a handmade description may contain itself
        last["message"] += f"{counted(count, 'earlier exception')} left out. See the function's log.\n"
    bounded: PipesException = top["cause"]
    return bounded


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


def _description(value: object) -> Mapping[str, Any]:
    """Return a value as a description, whose fields may still have any type."""
    if isinstance(value, BaseException):
        return describe_exception(value)
    return value if isinstance(value, Mapping) else {"message": value}


def _links_of_description(exception: Mapping[str, Any]) -> Iterator[tuple[_Link, Mapping[str, Any]]]:
    for link in _LINKS:
        if (earlier := exception.get(link)) is not None:
            yield link, _description(earlier)


def _inner_descriptions(exception: Mapping[str, Any]) -> Iterator[tuple[_Link, Mapping[str, Any]]]:
    for link in _LINKS:
        if isinstance(inner := exception.get(link), dict):
            yield link, inner


def _without_inner_descriptions(exception: Mapping[str, Any]) -> PipesException:
    fields: Any = {**exception, **{link: None for link, _ in _inner_descriptions(exception)}}
    description: PipesException = fields
    return description


def _complete(exception: Mapping[str, Any]) -> PipesException:
    stack, name = exception.get("stack"), exception.get("name")
    lines = stack if isinstance(stack, (list, tuple)) else [] if stack is None else [stack]
    return _exception(
        _text(exception.get("message")),
        stack=[_text(line) for line in lines],
        name=None if name is None else _shortened(_text(name)),
    )


def _text(value: object) -> str:
    """Return a string as it is, None as an empty one, and any other value as its `repr`."""
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value)


def _describe(error: TracebackException) -> PipesException:
    lines = [*error.format_exception_only()]
    for part in islice(_all_in_group(error), MAX_EXCEPTION_CHAIN):
        lines += (f"  {line}" for line in part.format_exception_only())
    return _exception("".join(lines), stack=error.stack.format(), name=_name(error))


def _all_in_group(error: TracebackException) -> Iterator[TracebackException]:
    """Yield the exceptions in an exception group, and in the groups inside."""
    inside: list[Any] = list(getattr(error, "exceptions", None) or ())  # not in Python 3.10
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


def _shortened_texts(description: PipesException) -> PipesException:
    message, stack = description.get("message"), description.get("stack")
    if isinstance(message, str):
        description["message"] = _shortened(message)
    if isinstance(stack, list) and all(isinstance(line, str) for line in stack):
        text = "".join(stack)
        description["stack"] = stack if len(text) <= MAX_EXCEPTION_CHARACTERS else [_shortened(text)]
    return description


def _shortened(text: str) -> str:
    """Return a text, or its start and end if it is too long."""
    if len(text) <= MAX_EXCEPTION_CHARACTERS:
        return text
    half = MAX_EXCEPTION_CHARACTERS // 2 - 50
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"
