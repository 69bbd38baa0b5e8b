"""`invoke` runs an entry point as a call from Dagster would, and returns what it did."""

import asyncio
import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import flask
import pytest
from dagster import AssetKey
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionRequestError
from dagster_gcf_pipes.testing import LogLine, ReportedCheck, ReportedMaterialization, invoke
from tests.testing_kit import entry_points


def test_the_result_has_all_that_was_reported() -> None:
    result = invoke(entry_points.reports, {"table": "orders"}, asset_keys="orders")
    assert (result.response.status_code, result.response.get_json()["event"]) == (200, "orders")
    assert result.logs == (LogLine("INFO", "reading"), LogLine("WARNING", "2 rows are empty"))
    metadata = {"rows": 3, "preview": {"raw_value": "**bold**", "type": "md"}}
    assert result.materializations == {"orders": ReportedMaterialization(metadata, data_version="v1")}
    assert result.checks == {
        ("orders", "not_empty"): ReportedCheck(passed=True, severity="ERROR", metadata={"rows": 3}),
        ("orders", "fresh"): ReportedCheck(passed=False, severity="WARN", metadata={}),
    }
    assert result.custom_messages == ({"table": "orders"},)
    assert (result.stdout, result.stderr) == ("to stdout\n", "to stderr\n")
    assert (result.succeeded, result.error) == (True, None)


def test_what_is_printed_is_still_printed(capsys: pytest.CaptureFixture[str]) -> None:
    result = invoke(entry_points.reports)
    assert result.stdout == "to stdout\n"
    assert capsys.readouterr().out == "to stdout\n"


def context_of(**arguments: Any) -> dict[str, Any]:
    context: dict[str, Any] = invoke(entry_points.context_fields, **arguments).response.get_json()
    return context


def test_the_default_is_a_step_of_one_asset() -> None:
    assert context_of() == {
        "asset_keys": ["asset"],
        "extras": {},
        "run_id": "test_run",
        "job_name": "test_job",
        "retry_number": 0,
    }


def test_each_field_of_the_context_can_be_given() -> None:
    given = {"extras": {"full": True}, "run_id": "1234", "job_name": None, "retry_number": 2}
    window = ("2024-01-01T00:00:00", "2024-01-02T00:00:00")
    context = context_of(
        asset_keys=["sales/orders", "customers"], partition_key="2024-01-01", partition_time_window=window, **given
    )
    assert context == {
        **given,
        "asset_keys": ["sales/orders", "customers"],
        "partition_key": "2024-01-01",
        "partition_key_range": {"start": "2024-01-01", "end": "2024-01-01"},
        "partition_time_window": dict(zip(("start", "end"), window, strict=True)),
    }


@pytest.mark.parametrize("asset_keys", [None, []])
def test_an_op_has_no_asset(asset_keys: Any) -> None:
    assert context_of(asset_keys=asset_keys)["asset_keys"] is None


@pytest.mark.parametrize(
    ("asset_keys", "expected"),
    [
        (AssetKey("a"), ["a"]),
        (AssetKey(["a", "b"]), ["a/b"]),
        ([AssetKey("a"), "b/c"], ["a", "b/c"]),
        ((AssetKey("a"),), ["a"]),
    ],
)
def test_asset_keys_can_be_those_of_dagster(asset_keys: Any, expected: list[str]) -> None:
    assert context_of(asset_keys=asset_keys)["asset_keys"] == expected


@pytest.mark.parametrize(("asset_keys", "text"), [(3, "3"), ([3], "3"), ([["a", "b"]], r"\['a', 'b'\]"), (b"a", "97")])
def test_other_asset_keys_are_refused(asset_keys: Any, text: str) -> None:
    with pytest.raises(TypeError, match=rf"Expected `asset_keys` to be a key, .* got the key {text}\."):
        context_of(asset_keys=asset_keys)


def test_a_large_context_arrives_too() -> None:
    assert len(context_of(extras={"text": "x" * (3 << 20)})["extras"]["text"]) == 3 << 20


def test_an_exception_is_in_the_result() -> None:
    result = invoke(entry_points.raises)
    assert (type(result.error), str(result.error)) == (ValueError, "the table is broken")
    assert result.logs == (LogLine("INFO", "about to raise"),)
    assert result.stderr.endswith("ValueError: the table is broken\n")
    assert (result.succeeded, result.response.status_code) == (False, 500)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
def test_an_exit_or_a_cancellation_is_in_the_result(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    result = invoke(entry_points.raising(error))
    assert (result.error, result.succeeded) == (error, False)
    assert "Exception on / [POST]" in caplog.text  # as in the cloud


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), pytest.fail.Exception("no"), pytest.skip.Exception("later"), BaseException("odd")]
)
@pytest.mark.parametrize("decorate", [lambda main: main, entry_points.responds_to_exceptions])
def test_what_is_meant_for_the_test_is_raised(
    error: BaseException, decorate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(type(error)) as raised:
        invoke(decorate(entry_points.raising(error)))
    assert raised.value is error
    assert "Exception on" not in caplog.text


def test_an_assertion_of_the_function_is_in_the_result() -> None:
    assert isinstance(invoke(entry_points.raising(AssertionError())).error, AssertionError)


@pytest.mark.parametrize("main", [entry_points.returns_500, entry_points.closes_with_an_exception])
def test_a_failure_without_an_exception_is_no_success(main: Any) -> None:
    result = invoke(main)
    assert (result.succeeded, result.error) == (False, None)


def test_lines_of_threads_are_in_the_result() -> None:
    result = invoke(entry_points.starts_threads)
    assert sorted(line.message for line in result.logs) == [f"from thread {number}" for number in range(4)]
    assert sorted(result.stdout.splitlines()) == [f"printed by thread {number}" for number in range(4)]


def test_a_stream_is_complete() -> None:
    result = invoke(entry_points.streams)
    assert (result.response.text, len(result.logs)) == ("ab", 1)


def test_decorators_around_the_entry_point_take_part() -> None:
    assert invoke(entry_points.guarded).response.status_code == 401
    assert invoke(entry_points.guarded, {"password": "open sesame"}).succeeded


def test_a_function_can_be_invoked_in_a_function() -> None:
    @pipes_function
    def outer(request: flask.Request, pipes: PipesContext) -> Any:
        inner = invoke(entry_points.reports, asset_keys="inner")
        pipes.report_asset_materialization(metadata={"inner": list(inner.materializations)})
        return {}

    assert invoke(outer, asset_keys="outer").materializations["outer"].metadata == {"inner": ["inner"]}


def test_concurrent_invocations_do_not_mix() -> None:
    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None:
        print(request.get_json()["number"])
        pipes.log.info(request.get_json()["number"])

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: invoke(main, {"number": str(number)}), range(32)))
    assert [(result.stdout, result.logs[0].message) for result in results] == [(f"{i}\n", f"{i}") for i in range(32)]


def test_the_functions_own_writer_uses_the_bucket_of_the_test() -> None:
    real = storage.Client("local", AnonymousCredentials(), client_options={"api_endpoint": "http://127.0.0.1:1"})

    @pipes_function(message_writer=PipesCloudStorageMessageWriter(real, max_chunk_bytes=1))
    def main(request: flask.Request, pipes: PipesContext) -> None:
        pipes.log.info("stored")

    assert invoke(main).logs == (LogLine("INFO", "stored"),)


def test_the_allowed_buckets_of_the_environment_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCF_PIPES_BUCKETS", "production")
    monkeypatch.setenv("GCF_PIPES_KEY_PREFIX", "pipes")

    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None: ...

    assert invoke(main).succeeded


def of_two(request: Any, pipes: Any) -> None: ...


def of_one(request: Any) -> str:
    return "plain"


async def asynchronous(request: Any) -> None: ...


@pytest.mark.parametrize(
    ("main", "text"),
    [
        (of_two, "got `def of_two(request: Any, pipes: Any) -> None`, which cannot be called with a request alone."),
        (of_one, "got a function that returned HTTP 200 without a Pipes session.\nFix: Decorate it"),
        (asynchronous, "got an `async def`.\nFix: Call `asyncio.run` in a plain function."),
        ("main", "got 'main'.\nFix: Pass the function itself"),
    ],
)
def test_what_is_no_entry_point_is_refused(main: Any, text: str) -> None:
    with pytest.raises(TypeError) as raised:
        invoke(main)
    assert text in str(raised.value).replace("typing.", "")


@pytest.mark.parametrize(
    "arguments",
    [
        {"event": {"day": date(2024, 1, 1)}},
        {"event": ["not an object"]},
        {"event": {"DAGSTER_PIPES_CONTEXT": ""}},
        {"extras": {"day": date(2024, 1, 1)}},
    ],
)
def test_what_is_not_json_is_refused(arguments: Any) -> None:
    with pytest.raises(PipesCloudFunctionRequestError):
        invoke(entry_points.reports, **arguments)


def test_without_flask_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(ImportError, match=r"Fix: .*pip install 'dagster-gcf-pipes\[local\]'"):
        invoke(entry_points.reports)


def test_redirected_output_belongs_to_the_function() -> None:
    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> str:
        with contextlib.redirect_stdout(None):
            print("hidden")
        return ""

    assert invoke(main).stdout == ""
