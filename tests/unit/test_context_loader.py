"""The Pipes context in the request itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from dagster_pipes import PipesContextData, PipesParams, decode_param, encode_param
from gcf_pipes import PipesCloudFunctionContextLoader, PipesRequestError
from gcf_pipes._shared.json_validation import json_type

from dagster_gcf_pipes import PipesCloudFunctionEventContextInjector

CONTEXT: PipesContextData = {
    "asset_keys": ["orders"],
    "code_version_by_asset_key": {"orders": "v1"},
    "provenance_by_asset_key": {
        "orders": {"code_version": "v1", "input_data_versions": {"raw": "7f"}, "is_user_provided": False}
    },
    "partition_key": "2024-01-01",
    "partition_key_range": {"start": "2024-01-01", "end": "2024-01-01"},
    "partition_time_window": {"start": "2024-01-01T00:00:00", "end": "2024-01-02T00:00:00"},
    "run_id": "0b3c",
    "job_name": "nightly",
    "retry_number": 0,
    "extras": {"full_refresh": True},
}
REQUIRED = ("run_id", "retry_number", "extras")
WRONG_TYPES: dict[str, tuple[list[Any], str]] = {
    "asset_keys": (["orders", {}, 1], "an array or null"),
    "code_version_by_asset_key": (["v1", [], 1], "an object or null"),
    "provenance_by_asset_key": (["v1", [], 1], "an object or null"),
    "partition_key": ([1, [], {}], "a string or null"),
    "partition_key_range": (["2024-01-01", [], 1], "an object or null"),
    "partition_time_window": (["2024-01-01", [], 1], "an object or null"),
    "run_id": ([None, 1, []], "a string"),
    "job_name": ([1, [], {}], "a string or null"),
    "retry_number": ([None, "0", 0.0, True], "a whole number"),
    "extras": ([[], "extras"], "an object"),
}
PROVENANCE = {"code_version": "v1", "input_data_versions": {"raw": "7f"}, "is_user_provided": False}
WRONG_INSIDE: list[tuple[str, Any, str]] = [
    ("asset_keys", [1, None], "'asset_keys[0]' in the Pipes context to be a string, got a number"),
    ("asset_keys", ["orders", None], "'asset_keys[1]' in the Pipes context to be a string, got null"),
    (
        "code_version_by_asset_key",
        {"a": []},
        "'code_version_by_asset_key[a]' in the Pipes context to be a string or null, got an array",
    ),
    (
        "provenance_by_asset_key",
        {"a": 7},
        "'provenance_by_asset_key[a]' in the Pipes context to be an object or null, got a number",
    ),
    (
        "provenance_by_asset_key",
        {"a": {**PROVENANCE, "input_data_versions": {"raw": 1}}},
        "'provenance_by_asset_key[a].input_data_versions[raw]' in the Pipes context to be a string, got a number",
    ),
    (
        "provenance_by_asset_key",
        {"a": {**PROVENANCE, "is_user_provided": 0}},
        "'provenance_by_asset_key[a].is_user_provided' in the Pipes context to be a boolean, got a number",
    ),
    (
        "partition_key_range",
        {"start": "a", "end": None},
        "'partition_key_range.end' in the Pipes context to be a string, got null",
    ),
    (
        "partition_time_window",
        {"start": 1},
        "'partition_time_window.start' in the Pipes context to be a string, got a number",
    ),
]


def load(params: PipesParams) -> PipesContextData:
    with PipesCloudFunctionContextLoader().load_context(params) as context:
        return context


def error_of(params: PipesParams) -> str:
    with pytest.raises(PipesRequestError) as caught:
        load(params)
    return str(caught.value)


def test_loads_an_inline_context() -> None:
    assert load({"data": CONTEXT}) == CONTEXT


def test_loads_what_the_injector_puts_into_the_event() -> None:
    with PipesCloudFunctionEventContextInjector(bucket="lake").inject_context(CONTEXT) as params:
        assert load(decode_param(encode_param(params))) == CONTEXT


@pytest.mark.parametrize("field", [field for field in CONTEXT if field not in REQUIRED])
def test_field_that_not_every_run_has_may_be_null(field: str) -> None:
    context = {**CONTEXT, field: None}
    assert load({"data": context}) == context


def test_field_that_a_later_dagster_adds_is_kept() -> None:
    key_range = {"start": "a", "end": "b", "step": 2}
    provenance = {"orders": {**PROVENANCE, "input_storage_ids": {"raw": 7}}}
    context = {**CONTEXT, "new_field": 1, "partition_key_range": key_range, "provenance_by_asset_key": provenance}
    assert load({"data": context}) == context


@pytest.mark.parametrize("data", [None, [], "context", 1])
def test_refuses_a_context_that_is_not_an_object(data: object) -> None:
    assert error_of({"data": data}) == f"Expected the Pipes context to be an object, got {json_type(data)}."


@pytest.mark.parametrize("field", [field for field in CONTEXT if field not in REQUIRED])
def test_field_that_the_json_schema_leaves_optional_may_be_missing(field: str) -> None:
    context = {name: value for name, value in CONTEXT.items() if name != field}
    assert load({"data": context}) == {**CONTEXT, field: None}


def test_context_with_only_the_required_fields_is_that_of_an_op() -> None:
    context = {"run_id": "0b3c", "retry_number": 0, "extras": None}
    nothing = dict.fromkeys(CONTEXT)
    assert load({"data": context}) == {**nothing, "run_id": "0b3c", "retry_number": 0, "extras": {}}


def test_missing_inner_field_is_null() -> None:
    context: Any = load(
        {"data": {**CONTEXT, "partition_key_range": {}, "provenance_by_asset_key": {"a": {"new": 1}, "b": None}}}
    )
    assert context["partition_key_range"] == {"start": None, "end": None}
    nothing = {"code_version": None, "input_data_versions": None, "is_user_provided": None}
    assert context["provenance_by_asset_key"] == {"a": {"new": 1, **nothing}, "b": None}


@pytest.mark.parametrize("field", REQUIRED)
def test_names_a_missing_field(field: str) -> None:
    context = {name: value for name, value in CONTEXT.items() if name != field}
    expected = f"Expected {field!r} in the Pipes context to be {WRONG_TYPES[field][1]}, got nothing."
    assert error_of({"data": context}) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        pytest.param(field, value, expected, id=f"{field}={value!r}")
        for field, (values, expected) in WRONG_TYPES.items()
        for value in values
    ],
)
def test_names_a_field_of_a_wrong_type(field: str, value: object, expected: str) -> None:
    error = error_of({"data": {**CONTEXT, field: value}})
    assert error == f"Expected {field!r} in the Pipes context to be {expected}, got {json_type(value)}."


@pytest.mark.parametrize(("field", "value", "expected"), WRONG_INSIDE)
def test_names_the_place_of_a_wrong_type_inside_a_field(field: str, value: object, expected: str) -> None:
    assert error_of({"data": {**CONTEXT, field: value}}) == f"Expected {expected}."


def test_text_shows_no_more_than_the_start_of_a_key() -> None:
    error = error_of({"data": {**CONTEXT, "code_version_by_asset_key": {"x" * 1_000_000: 1}}})
    assert f"'code_version_by_asset_key[{'x' * 100}]'" in error
    assert len(error) < 300


def test_every_field_of_the_context_has_its_wrong_types_above() -> None:
    assert set(WRONG_TYPES) == set(CONTEXT) == set(PipesContextData.__annotations__)


def test_never_reads_a_local_file(tmp_path: Path) -> None:
    """The stock loader reads params["path"]; a caller must not choose a file of the function's machine."""
    file = tmp_path / "context.json"
    file.write_text(json.dumps(CONTEXT))
    assert "Expected 'bucket' in the context params" in error_of({"path": str(file)})


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "bucket"),
        ({"key": "context.json"}, "bucket"),
        ({"bucket": "lake"}, "key"),
        ({"bucket": "lake", "key": 1}, "key"),
    ],
)
def test_names_a_missing_param_of_the_context_object(params: PipesParams, field: str) -> None:
    assert f"Expected {field!r} in the context params to be a string that is not empty" in error_of(params)
