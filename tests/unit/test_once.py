"""A value that is created once, at its first use."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from gcf_pipes._shared.once import Once

THREADS = 8


def never() -> str:
    raise AssertionError


def test_the_value_is_created_at_the_first_call() -> None:
    once = Once[str]()
    assert once.get(lambda: "first") == "first"
    assert once.get(never) == "first"


def test_a_value_of_none_is_created_once_too() -> None:
    once = Once[str | None]()
    assert once.get(lambda: None) is None
    assert once.get(never) is None


def test_threads_get_the_same_value() -> None:
    once = Once[object]()
    created: list[object] = []
    all_are_here = Barrier(THREADS)

    def create() -> object:
        created.append(object())
        return created[-1]

    def get(_: int) -> object:
        all_are_here.wait()
        return once.get(create)

    with ThreadPoolExecutor(THREADS) as pool:
        values = set(pool.map(get, range(THREADS)))
    assert values == set(created)
    assert len(created) == 1


def test_an_error_is_raised_and_the_next_call_creates_the_value() -> None:
    once = Once[str]()
    with pytest.raises(ZeroDivisionError):
        once.get(lambda: str(1 / 0))
    assert once.pop() is None
    assert once.get(lambda: "second") == "second"


def test_a_popped_value_is_forgotten() -> None:
    once = Once[str]()
    assert once.pop() is None
    once.get(lambda: "first")
    assert once.pop() == "first"
    assert once.pop() is None
    assert once.get(lambda: "second") == "second"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda once: pickle.loads(pickle.dumps(once))])
def test_a_copy_starts_empty(copied: Callable[[Once[str]], Once[str]]) -> None:
    once = Once[str]()
    once.get(lambda: "first")
    other = copied(once)
    assert other.pop() is None
    assert other.get(lambda: "second") == "second"
    assert once.get(never) == "first"


def test_a_value_that_needs_itself_is_an_error_and_no_deadlock() -> None:
    once = Once[str]()
    with pytest.raises(RuntimeError, match="needs the value that it creates"):
        once.get(lambda: once.get(never))
    assert once.get(lambda: "created") == "created"
