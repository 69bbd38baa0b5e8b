"""An invalid entry point is refused when the instance starts, not at every call."""

import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gcf_pipes import pipes_function


def of_one(request: Any) -> None: ...


def of_three(request: Any, pipes: Any, more: Any) -> None: ...


def of_a_keyword(request: Any, *, pipes: Any) -> None: ...


async def asynchronous(request: Any, pipes: Any) -> None: ...


async def generates_asynchronously(request: Any, pipes: Any) -> AsyncIterator[str]:
    yield ""


class AsynchronousCallable:
    async def __call__(self, request: Any, pipes: Any) -> None: ...


class CallableOfOne:
    def __call__(self, request: Any) -> None: ...


class Callable:
    def __call__(self, request: Any, pipes: Any) -> None: ...


def of_two(request: Any, pipes: Any) -> None: ...


def of_any(*args: Any) -> None: ...


def of_two_and_more(request: Any, pipes: Any, more: int = 3, *, most: int = 4) -> None: ...


def of_two_by_position(request: Any, pipes: Any, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (of_one, "`def of_one(request, pipes)`, got `def of_one(request: Any) -> None`."),
        (of_three, "`def of_three(request, pipes)`, got `def of_three(request: Any, pipes: Any, more: Any) -> None`."),
        (of_a_keyword, "got `def of_a_keyword(request: Any, *, pipes: Any) -> None`."),
        (functools.partial(of_two, None, None), "got `def partial() -> None`."),
        (CallableOfOne(), "`def CallableOfOne(request, pipes)`, got `def CallableOfOne(request: Any) -> None`."),
        (asynchronous, "`def asynchronous(request, pipes)`, got an `async def`.\nFix: Call `asyncio.run`"),
        (functools.partial(asynchronous), "got an `async def`."),
        (generates_asynchronously, "got an `async def`."),
        (AsynchronousCallable(), "got an `async def`."),
        ("main", "got 'main'."),
    ],
)
@pytest.mark.parametrize("decorate", [pipes_function, pipes_function()])
def test_function_without_request_and_pipes_is_refused(decorate: Any, function: Any, got: str) -> None:
    with pytest.raises(TypeError) as raised:
        decorate(function)
    assert "Expected a function with two parameters, `def " in str(raised.value)
    assert got in str(raised.value).replace("typing.", "")


@pytest.mark.parametrize(
    "function",
    [
        of_two,
        of_any,
        of_two_and_more,
        of_two_by_position,
        functools.partial(of_three, None),
        Callable(),
        Callable().__call__,
        functools.wraps(of_two)(lambda *args, **kwargs: None),
        max,
    ],
)
def test_any_callable_with_two_arguments_is_accepted(function: Any) -> None:
    assert callable(pipes_function(function))
