"""A failed run shows its cause, and keeps what arrived before."""

import socket

import pytest
from dagster import AssetCheckSpec, DagsterInstance, MetadataValue, build_asset_context, materialize

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionRaisedError
from dagster_gcf_pipes.local import FunctionServer
from tests.dagster_runs import calling_asset, check_evaluations, failure_text, materializations, run, step_error
from tests.quotes import Quote

CHECKS = [AssetCheckSpec("not_empty", asset="orders"), AssetCheckSpec("fresh", asset="orders")]


def failure_of(url: str, mode: str, client: PipesCloudFunctionClient) -> str:
    result, _ = run(calling_asset(url, {"mode": mode}), client)
    assert not result.success
    assert result.asset_materializations_for_node("orders") == []
    return step_error(result)


def test_an_exception_fails_the_step_with_its_text_and_type(
    function: FunctionServer, client: PipesCloudFunctionClient, quote: Quote
) -> None:
    result, lines = run(calling_asset(function.url, {"mode": "raises"}), client)
    assert lines[0] == "about to raise"
    assert "PipesCloudFunctionRaisedError" in step_error(result)
    quote("raised", failure_text(result))
    function.child.wait_for_output("ValueError: the table is broken")


def test_the_failure_carries_metadata_with_the_whole_traceback(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    result, _ = run(calling_asset(function.url, {"mode": "raises"}), client)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    metadata = event.step_failure_data.user_failure_data.metadata
    assert metadata["cloud_function/function_url"] == MetadataValue.text(function.url)
    assert metadata["cloud_function/http_status"].value == 500
    traceback = metadata["cloud_function/traceback"].value
    assert isinstance(traceback, str)
    assert traceback.index("KeyError: 'the inner cause'") < traceback.index("ValueError: the table is broken")


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("exits", "SystemExit: stopped by sys.exit"),
        ("aborts", "418 I'm a teapot: no coffee here"),
        ("returns_nonsense", "TypeError: The view function did not return a valid response"),
        ("custom_not_serializable", "Expected the params of the Pipes message `report_custom_message` to be JSON"),
        ("no_such_mode", "KeyError: 'no_such_mode'"),
    ],
)
def test_whatever_ends_the_function_s_code_is_the_error(
    function: FunctionServer, client: PipesCloudFunctionClient, mode: str, text: str
) -> None:
    assert text in failure_of(function.url, mode, client)


def test_an_error_status_that_the_function_chose_fails_the_step(
    function: FunctionServer, client: PipesCloudFunctionClient, quote: Quote
) -> None:
    result, _ = run(calling_asset(function.url, {"mode": "answers_500"}), client)
    quote("status_of_the_function", failure_text(result))


def test_a_function_that_opens_no_pipes_session_fails_the_step(plain_function: FunctionServer, bucket: str) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, drain_timeout=1)
    error = failure_of(plain_function.url, "ok", client)
    assert "PipesCloudFunctionNotOpenedError" in error
    assert "Fix: Decorate its entry point with `gcf_pipes.pipes_function`" in error


def test_a_function_that_is_not_there_fails_the_step(client: PipesCloudFunctionClient) -> None:
    client = PipesCloudFunctionClient(bucket=client.bucket, max_attempts=1)
    error = failure_of("http://127.0.0.1:9/", "ok", client)  # port 9, discard: nothing listens there
    assert "PipesCloudFunctionCallError" in error
    assert "Could not connect to the function: 127.0.0.1:9 refused the connection" in error


@pytest.mark.parametrize("url", ["not a url", "ftp://host/orders", "http://"])
def test_a_url_that_is_none_is_refused(client: PipesCloudFunctionClient, url: str) -> None:
    assert "Expected the URL of a function" in failure_of(url, "ok", client)


def test_a_bucket_that_does_not_exist_is_named(function: FunctionServer) -> None:
    error = failure_of(function.url, "ok", PipesCloudFunctionClient(bucket="no-such-bucket"))
    assert "PipesCloudFunctionRefusedError" in error
    assert "the bucket 'no-such-bucket' does not exist" in error
    function.child.wait_for_output("the bucket 'no-such-bucket' does not exist")


def test_a_check_that_failed_does_not_fail_the_step(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    result, _ = run(calling_asset(function.url, {"mode": "materialize"}, check_specs=CHECKS), client)
    assert result.success


def test_an_exception_reaches_an_asset_that_a_test_calls_directly(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    """Dagster itself cannot report it there: such a context has no step."""
    asset = calling_asset(function.url, {"mode": "raises"})
    with pytest.raises(PipesCloudFunctionRaisedError, match="the table is broken"):
        asset(build_asset_context(), cloud_function=client)


def test_what_was_reported_before_the_failure_is_kept(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    asset = calling_asset(function.url, {"mode": "materialize_and_raise"}, check_specs=CHECKS)
    with DagsterInstance.ephemeral() as instance:
        result = materialize([asset], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        (materialization,) = materializations(instance, result.run_id)
        evaluations = check_evaluations(instance, result.run_id)
    assert not result.success
    assert materialization.metadata["rows"].value == 3
    assert (materialization.tags or {})["dagster/data_version"] == "v1"
    assert {each.check_name: each.passed for each in evaluations} == {"not_empty": True, "fresh": False}


def test_connections_to_the_function_are_kept_alive(client: PipesCloudFunctionClient, function: FunctionServer) -> None:
    with client.get_http_session() as http, http.get(function.url, stream=True) as response:
        connection = response.raw.connection
        assert connection is not None
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
