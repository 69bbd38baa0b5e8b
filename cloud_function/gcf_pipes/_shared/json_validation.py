"""Parses and validates JSON that another process sends."""

import functools
import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints, is_typeddict

from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD, PipesParams

from gcf_pipes._shared.errors import PipesRequestError

MAX_SHOWN: Final = 100
"""Characters of the other process's text in an error text."""
SAME_VERSION_FIX: Final = (
    "Fix: Install the same version of dagster-pipes for Dagster and in the function's requirements.txt, and deploy the "
    "function again."
)
_MARK: Final = re.compile(rb'"[^"]*"?|[\[{,:]')
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


class JsonValidationError(PipesRequestError):
    """JSON cannot be parsed, or does not have the expected type."""


def parse_json_object(data: bytes, where: str, *, max_marks: int | None = None) -> dict[str, Any]:
    """Parse a JSON object in UTF-8.

    Args:
        data: The JSON.
        where: What it is, for the error text.
        max_marks: The limit of `has_more_marks`, if there is one.

    Raises:
        JsonValidationError: It is not a JSON object in UTF-8, is nested too deep, or has more marks.
    """
    try:
        value = parse_json(data, max_marks=max_marks)
    except ValueError as error:
        raise JsonValidationError(
            f"Expected {where} to be a JSON object in UTF-8, but it cannot be parsed: {error}"
        ) from error
    if not isinstance(value, dict):
        raise JsonValidationError(f"Expected {where} to be a JSON object, got {json_type(value)}.")
    return value


def parse_json(data: bytes, *, max_marks: int | None = None) -> Any:
    """Parse JSON in UTF-8.

    Args:
        data: The JSON.
        max_marks: The limit of `has_more_marks`, if there is one.

    Raises:
        ValueError: It is not JSON in UTF-8, is nested too deep, or has more marks.
    """
    if max_marks is not None and has_more_marks(data, max_marks):
        raise ValueError(f"it has more than {max_marks:,} opening brackets, commas, colons and strings")
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def has_more_marks(data: bytes, max_marks: int) -> bool:
    """Whether JSON has more opening brackets, commas, colons and strings than that. A long string counts once.

    Each becomes a Python object when parsed, so hostile JSON can take forty times its size. This counts them without
    parsing, up to the limit.
    """
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")  # now each string ends at its next quote
    return next(islice(_MARK.finditer(data), max_marks, None), None) is not None


def has_more_levels(value: object, max_levels: int) -> bool:
    """Whether a value has more levels of arrays and objects than that. It may contain itself."""
    if not isinstance(value, (dict, list, tuple)):
        return False
    parts = list(value.values()) if isinstance(value, dict) else value  # a copy, as another thread may add a key
    return max_levels == 0 or any(
        has_more_levels(part, max_levels - 1) for part in parts if isinstance(part, (dict, list, tuple))
    )


def check_protocol_version(fields: Mapping[str, Any], where: str) -> None:
    """Refuse params or a message of another protocol version. Params of today's version do not name it.

    Raises:
        JsonValidationError: The version is another one.
    """
    version = fields.get(PIPES_PROTOCOL_VERSION_FIELD, PIPES_PROTOCOL_VERSION)
    if version != PIPES_PROTOCOL_VERSION:
        raise JsonValidationError(
            f"Expected version {PIPES_PROTOCOL_VERSION!r} of the Pipes protocol in {where}, got {excerpt(version)}.\n"
            f"{SAME_VERSION_FIX}"
        )


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


def get_param(params: PipesParams, name: str, where: str) -> str:
    """Return a param that must be a string and not empty.

    Raises:
        JsonValidationError: The param is missing, empty, or not a string.
    """
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise JsonValidationError(
            f"Expected {name!r} in the {where} params to be a string that is not empty, "
            f"got {json_type(value) if name in params else 'nothing'}."
        )
    return value


def excerpt(value: object) -> str:
    """Return the start of a text, or the type of any other value, for an error text."""
    return repr(value[:MAX_SHOWN]) if isinstance(value, (str, bytes)) else json_type(value)


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
