"""The Pipes context that travels in the request itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from dagster_pipes import PipesContextData, PipesParams, decode_param, encode_param
from gcf_pipes import PipesCloudFunctionContextLoader, PipesRequestError

from dagster_gcf_pipes import PipesCloudFunctionEventContextInjector

CONTEXT: PipesContextData = {
    "asset_keys": ["orders"],
    "code_version_by_asset_key": {"orders": "v1"},
    "provenance_by_asset_key": {"orders": None},
    "partition_key": "2024-01-01",
    "partition_key_range": {"start": "2024-01-01", "end": "2024-01-01"},
    "partition_time_window": {"start": "2024-01-01T00:00:00", "end": "2024-01-02T00:00:00"},
    "run_id": "0b3c",
    "job_name": "nightly",
    "retry_number": 0,
    "extras": {"full_refresh": True},
}
NEVER_NULL = ("run_id", "retry_number", "extras")
WRONG_TYPES: dict[str, tuple[list[Any], str]] = {
    "asset_keys": (["orders", {}, 1], "list or null"),
    "code_version_by_asset_key": (["v1", [], 1], "dict or null"),
    "provenance_by_asset_key": (["v1", [], 1], "dict or null"),
    "partition_key": ([1, [], {}], "str or null"),
    "partition_key_range": (["2024-01-01", [], 1], "dict or null"),
    "partition_time_window": (["2024-01-01", [], 1], "dict or null"),
    "run_id": ([None, 1, []], "str"),
    "job_name": ([1, [], {}], "str or null"),
    "retry_number": ([None, "0", 0.0], "int"),
    "extras": ([None, [], "extras"], "dict"),
}


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


@pytest.mark.parametrize("field", [field for field in CONTEXT if field not in NEVER_NULL])
def test_field_that_not_every_run_has_may_be_null(field: str) -> None:
    context = {**CONTEXT, field: None}
    assert load({"data": context}) == context


def test_field_that_a_later_dagster_adds_is_kept() -> None:
    context = {**CONTEXT, "new_field": 1}
    assert load({"data": context}) == context


@pytest.mark.parametrize("data", [None, [], "context", 1])
def test_refuses_a_context_that_is_no_object(data: object) -> None:
    expected = f"Expected the Pipes context to be a JSON object, got {type(data).__name__}."
    assert error_of({"data": data}) == expected


@pytest.mark.parametrize("field", CONTEXT)
def test_names_a_missing_field(field: str) -> None:
    context = {name: value for name, value in CONTEXT.items() if name != field}
    assert error_of({"data": context}) == f"Expected the Pipes context to have the field {field!r}, but it has not."


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
    assert error == f"Expected {field!r} in the Pipes context to be {expected}, got {type(value).__name__}."


def test_boolean_is_no_retry_number() -> None:
    error_of({"data": {**CONTEXT, "retry_number": True}})


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
def test_names_what_is_missing_of_a_contexts_location(params: PipesParams, field: str) -> None:
    assert f"Expected {field!r} in the context params to be a string that is not empty" in error_of(params)
