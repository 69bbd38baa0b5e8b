"""Validates JSON by the TypedDicts of `dagster_pipes`."""

import functools
from collections.abc import Container, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints, is_typeddict

MAX_SHOWN: Final = 100
"""Characters that an error text shows of a caller's text."""
_NOTHING: Final = object()
_KINDS: Final[Mapping[Any, tuple[type, str]]] = {
    str: (str, "a string"),
    int: (int, "a whole number"),
    bool: (bool, "a boolean"),
    NoneType: (NoneType, "null"),
    Sequence: (list, "an array"),
    Mapping: (dict, "an object"),
}
"""Each type's JSON type. Any other type, perhaps of a later `dagster_pipes`, accepts every value."""


class JsonValidationError(ValueError):
    """A JSON value does not have the expected type."""


def validate_json(
    value: object, type_: Any, where: str, path: str = "", *, required: Container[str] | None = None
) -> None:
    """Refuse a JSON value of a wrong type. Keys that a TypedDict does not declare may be a later version's and pass.

    Args:
        value: The value.
        type_: A TypedDict, or a type that a TypedDict may contain.
        where: What the value is a part of, for the error text.
        path: The value's place in it, such as `partition_time_window.start`.
        required: The paths of the required fields. Default: what each TypedDict requires.

    Raises:
        JsonValidationError: The type is wrong. The text has the path, what was expected and what came.
    """
    member = _member(value, type_)
    if member is None:
        expected = " or ".join(_KINDS[_origin(member)][1] for member in _members(type_))
        subject = f"{path!r} in {where}" if path else where
        raise JsonValidationError(f"Expected {subject} to be {expected}, got {json_type(value)}.")
    for part, part_type, part_path in _parts(value, member, path, required):
        validate_json(part, part_type, where, part_path, required=required)


def with_missing_fields(value: Any, type_: Any) -> Any:
    """Return a valid value with None for each missing field of a TypedDict, at any depth."""
    member = _member(value, type_)
    if is_typeddict(member):
        return {**value, **{name: with_missing_fields(value.get(name), part) for name, part in _fields(member).items()}}
    if _origin(member) is Mapping:
        return {key: with_missing_fields(part, get_args(member)[1]) for key, part in value.items()}
    return value


def json_type(value: object) -> str:
    """Name the type of a JSON value for an error text."""
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    names: dict[type, str] = {NoneType: "null", bool: "a boolean", int: "a number", float: "a number", list: "an array"}
    return names.get(type(value), "an object")


def _members(type_: Any) -> tuple[Any, ...]:
    return get_args(type_) if get_origin(type_) in {Union, UnionType} else (type_,)


def _member(value: object, type_: Any) -> Any:
    return next((member for member in _members(type_) if _may_be(value, member)), None)


def _origin(type_: Any) -> Any:
    return Mapping if is_typeddict(type_) else get_origin(type_) or type_


def _may_be(value: object, type_: Any) -> bool:
    kind = _KINDS.get(_origin(type_))
    return kind is None or type(value) is kind[0]


def _parts(value: Any, type_: Any, path: str, required: Container[str] | None) -> Iterator[tuple[object, Any, str]]:
    """Yield each part of a value of that type, with the part's type and path."""
    if is_typeddict(type_):
        for name, part_type in _fields(type_).items():
            part_path = f"{path}.{name}" if path else name
            if name in value or (name in type_.__required_keys__ if required is None else part_path in required):
                yield value.get(name, _NOTHING), part_type, part_path
    elif _origin(type_) is Mapping:
        for key, part in value.items():
            yield part, get_args(type_)[1], f"{path}[{key:.{MAX_SHOWN}}]"
    elif _origin(type_) is Sequence:
        for index, part in enumerate(value):
            yield part, get_args(type_)[0], f"{path}[{index}]"


@functools.cache
def _fields(type_: Any) -> Mapping[str, Any]:
    return get_type_hints(type_)
