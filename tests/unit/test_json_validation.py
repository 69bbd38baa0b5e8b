"""Validation of JSON by a type."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Optional, TypedDict

import pytest
from gcf_pipes._shared.json_validation import JsonValidationError, validate_json


class Node(TypedDict, total=False):
    name: str
    next: Optional["Node"]
    unions: str | int | None
    later: Literal["a", "b"]
    number: float
    rows: Sequence[Mapping[str, int]]
    anything: Any


def error_of(value: object) -> str:
    with pytest.raises(JsonValidationError) as caught:
        validate_json(value, Node, "the node")
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"name": ""},
        {"next": {"next": {"next": None}}},
        {"unions": 1},
        {"unions": "1"},
        {"unions": None},
        {"rows": []},
        {"rows": [{}, {"a": 1}]},
        {"anything": [{}]},
        {"unknown": 1},
        {"later": 1},
        {"number": "a type that the table does not know admits any value"},
    ],
)
def test_valid_value_passes(value: object) -> None:
    validate_json(value, Node, "the node")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "Expected the node to be an object, got null."),
        ({"name": None}, "Expected 'name' in the node to be a string, got null."),
        ({"next": {"next": {"name": 1}}}, "Expected 'next.next.name' in the node to be a string, got a number."),
        ({"unions": 1.5}, "Expected 'unions' in the node to be a string or a whole number or null, got a number."),
        ({"unions": True}, "Expected 'unions' in the node to be a string or a whole number or null, got a boolean."),
        ({"rows": ""}, "Expected 'rows' in the node to be an array, got an empty string."),
        ({"rows": [{}, {"a\n": []}]}, "Expected 'rows[1][a\\n]' in the node to be a whole number, got an array."),
    ],
)
def test_wrong_type_is_named_with_its_place(value: object, expected: str) -> None:
    assert error_of(value) == expected


def test_endlessly_nested_value_is_an_error() -> None:
    node: dict[str, Any] = {}
    for _ in range(2 * sys.getrecursionlimit()):
        node = {"next": node}
    with pytest.raises(RecursionError):
        validate_json(node, Node, "the node")
