"""Exceptions are described as by `dagster_pipes` where possible."""

import sys
from traceback import TracebackException
from typing import Any

import dagster_pipes
import pytest
from gcf_pipes._shared.exceptions import bound_exception, describe_exception, format_exception


def raised(error: BaseException, *, cause: BaseException | None = None, context: BaseException | None = None) -> Any:
    error.__cause__, error.__context__ = cause, context
    return error


def plain() -> BaseException:
    try:
        raise AssertionError(dict[str, str]()["key"])
    except KeyError as error:
        return error


def chained() -> BaseException:
    try:
        try:
            raise plain()
        except KeyError as error:
            raise ValueError("two\nlines") from error
    except ValueError as error:
        return error


def looped() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    return first


def in_code_that_is_no_code() -> BaseException:
    try:
        compile("for for", "file", "exec")
    except SyntaxError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        plain(),
        chained(),
        looped(),
        in_code_that_is_no_code(),
        raised(ValueError("both"), cause=plain(), context=chained()),
        raised(KeyboardInterrupt("stop"), context=ValueError("context")),
    ],
)
def test_an_exception_is_described_as_by_dagster_pipes(error: BaseException) -> None:
    traceback = TracebackException(type(error), error, error.__traceback__)
    described = dagster_pipes._pipes_exc_from_tb(traceback)  # noqa: SLF001 - it is what PipesContext uses
    assert describe_exception(error) == described
    assert bound_exception(described) == described


class BrokenMeta(type):
    __module__ = property(lambda cls: 1 / 0)


class BrokenError(Exception, metaclass=BrokenMeta):
    pass


def test_an_undescribable_exception_is_described_by_its_name() -> None:
    text = "BrokenError, which Python cannot describe because of ZeroDivisionError\n"
    description = describe_exception(BrokenError())
    assert (description["message"], description["name"]) == (text, "BrokenError")
    assert format_exception(BrokenError()) == text


class NamelessMeta(type):
    __name__ = property(lambda cls: sys.exit("no name"))


class ExitingError(Exception, metaclass=NamelessMeta):
    __cause__ = property(lambda _: sys.exit("no cause"))


class BrokenText:
    def __repr__(self) -> str:
        raise ArithmeticError


def test_a_hostile_exception_class_is_described_by_its_name() -> None:
    text = "ExitingError, which Python cannot describe because of SystemExit\n"
    assert describe_exception(ExitingError())["message"] == text
    assert bound_exception(ExitingError())["message"] == text
    assert format_exception(ExitingError()) == text
    assert bound_exception(BrokenText())["message"].startswith("BrokenText, which Python cannot describe")


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("by hand", {"message": "by hand"}),
        (ValueError("by hand"), {"message": "ValueError: by hand\n", "name": "ValueError"}),
        ({}, {}),
        ({"message": 1, "stack": "a line", "name": 2}, {"message": "1", "stack": ["a line"], "name": "2"}),
        ({"message": None, "stack": None}, {}),
        (7, {"message": "7"}),
    ],
)
def test_any_value_becomes_a_description(value: object, fields: dict[str, object]) -> None:
    empty: dict[str, object] = {"message": "", "stack": [], "name": None, "cause": None, "context": None}
    assert bound_exception(value) == {**empty, **fields}
    assert bound_exception({"cause": value, "context": value}) == {
        **empty,
        "cause": {**empty, **fields},
        "context": {**empty, **fields},
    }


def test_a_description_that_contains_itself_ends() -> None:
    description: dict[str, object] = {"message": "again"}
    description["cause"] = description["context"] = description
    assert bound_exception(description)["message"] == "again"
