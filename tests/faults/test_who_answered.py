"""The outcome of a call depends on who answered, not on the status alone."""

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import requests
import trustme
from dagster import DagsterInstance, ExecuteInProcessResult, materialize
from google.cloud import storage

from dagster_gcf_pipes import (
    PipesCloudFunctionCallError,
    PipesCloudFunctionClient,
    PipesCloudFunctionCompletedInvocation,
)
from local_stack.emulators import Emulator
from local_stack.functions import FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.faults import (
    CALL,
    INSTANCE_DIED,
    DelayAnswer,
    Fault,
    FaultProxy,
    ResetAfter,
    StatusAfter,
    refused_url,
)
from tests.helpers import calling_asset, run, step_error

OLD_RESPONSE_TIMEOUT = 32.0


class SelfAuthenticating(PipesCloudFunctionClient):
    """Needs no ID token."""

    def get_http_session(self) -> requests.Session:
        http = super().get_http_session()
        http.auth = ("somebody", "something")
        return http


@pytest.fixture
def link(function: FunctionServer) -> Iterator[FaultProxy]:
    """A proxy between Dagster and the function."""
    with FaultProxy(function.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def by_hand(emulator: Emulator) -> Iterator[FunctionServer]:
    """A function that opens its session by hand."""
    with run_function(FUNCTIONS / "by_hand" / "main.py", emulator_url=emulator.url) as server:
        yield server


def all_lines(url: str, client: PipesCloudFunctionClient, **event: object) -> tuple[ExecuteInProcessResult, str]:
    """Run, and return all that was logged, ours included."""
    with DagsterInstance.ephemeral() as instance:
        asset = calling_asset(url, dict(event))
        result = materialize([asset], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        return result, "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))


# ------------------------------------------------------------------------------------------- the function's own answer


def test_a_function_that_fails_fast_announces_no_attempt_that_is_not_made(
    function: FunctionServer, link: FaultProxy, bucket: str
) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, poll_interval=3)
    for _ in range(5):
        result, lines = all_lines(link.url, client, mode="answers_500")
        assert not result.success
        assert "attempt" not in lines
    assert [request.status for request in link.requests] == [500] * 5


@pytest.mark.parametrize("fault", [ResetAfter(), StatusAfter(503, INSTANCE_DIED.body)])
def test_a_response_that_was_lost_is_neither_a_proxy_s_page_nor_our_409(
    function: FunctionServer, link: FaultProxy, bucket: str, fault: ResetAfter | StatusAfter
) -> None:
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    client = PipesCloudFunctionClient(bucket=bucket, retry_delay=0.1)
    with link.planned(Fault(CALL, fault)):
        result, _ = run(calling_asset(link.url, {"mode": "ok"}, on_invocation=seen.append), client)
    assert result.success
    with pytest.raises(PipesCloudFunctionCallError, match="the connection broke before its response arrived"):
        _ = seen[0].response


def test_a_response_that_comes_long_after_closed_is_the_function_s(
    function: FunctionServer, link: FaultProxy, bucket: str
) -> None:
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    with link.planned(Fault(CALL, DelayAnswer(OLD_RESPONSE_TIMEOUT))):
        result, _ = run(
            calling_asset(link.url, {"mode": "ok"}, on_invocation=seen.append), PipesCloudFunctionClient(bucket=bucket)
        )
    assert result.success
    assert seen[0].response.json() == {"ok": True}


# --------------------------------------------------------------------------------------- a function without our runtime


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504])
def test_what_a_function_without_our_runtime_reported_is_kept_whatever_it_answers(
    by_hand: FunctionServer, bucket: str, status: int
) -> None:
    """Even if it has done so before the reader has seen anything. Nobody knows whose answer it was, so it is red."""
    client = PipesCloudFunctionClient(bucket=bucket, poll_interval=3, max_attempts=1)
    with DagsterInstance.ephemeral() as instance:
        asset = calling_asset(by_hand.url, {"mode": "answers", "status": status})
        result = materialize([asset], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        entries = instance.all_logs(result.run_id)
    error = step_error(result)
    assert "a line" in [entry.user_message for entry in entries]
    assert any(entry.dagster_event and entry.dagster_event.is_step_materialization for entry in entries)
    assert f"got HTTP {status}" in error
    assert "and it closed its Pipes session" in error


def test_a_function_without_our_runtime_that_answers_2xx_is_green(by_hand: FunctionServer, bucket: str) -> None:
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    asset = calling_asset(by_hand.url, {"mode": "answers", "status": 201}, on_invocation=seen.append)
    result, lines = run(asset, PipesCloudFunctionClient(bucket=bucket))
    assert result.success
    assert lines == ["a line"]
    assert seen[0].response.text == "chosen by the function"


def test_a_function_that_writes_on_after_its_answer_is_read_for_a_bounded_time(
    by_hand: FunctionServer, bucket: str
) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, drain_timeout=2)
    result, lines = run(calling_asset(by_hand.url, {"mode": "writes_on", "status": 200}), client)
    assert "without closing its Pipes session" in step_error(result)
    assert 2 < len(lines) < 100


# -------------------------------------------------------------------------------------------------- it was not sent


def test_a_connection_that_is_refused_on_this_machine_asks_whether_the_function_runs(
    storage_client: storage.Client, bucket: str
) -> None:
    url = refused_url()
    result, lines = all_lines(url, PipesCloudFunctionClient(bucket=bucket))
    error = step_error(result)
    address = url.removeprefix("http://")
    assert f"Could not connect to the function: {address} refused the connection. Is the function running?" in error
    assert f"`functions-framework --target=main --port={address.rpartition(':')[2]}`" in error
    assert "urllib3" not in error
    assert "Max retries" not in error
    assert "attempt" not in lines
    assert list(storage_client.list_blobs(bucket)) == []


@contextmanager
def tls_server() -> Iterator[str]:
    """Run a server whose certificate nobody here trusts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("orders.example", "127.0.0.1").configure_cert(context)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"


def test_a_certificate_that_is_not_trusted_is_not_retried_and_names_the_variable(
    storage_client: storage.Client, bucket: str
) -> None:
    with tls_server() as url:
        result, lines = all_lines(url, PipesCloudFunctionClient(bucket=bucket))
    error = step_error(result)
    assert "the server's TLS certificate is not trusted" in error
    assert "REQUESTS_CA_BUNDLE" in error
    assert "attempt" not in lines
    assert list(storage_client.list_blobs(bucket)) == []


def test_a_server_that_speaks_no_tls_is_named(function: FunctionServer, bucket: str) -> None:
    url = function.url.replace("http://", "https://")
    result, _ = all_lines(url, PipesCloudFunctionClient(bucket=bucket, max_attempts=1))
    assert re.search(r"Could not connect to the function: TLS failed: \w+", step_error(result))


def test_a_proxy_that_cannot_be_reached_is_named(
    function: FunctionServer, bucket: str, storage_client: storage.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", refused_url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "https://user:password@orders.example/?key=secret"
    result, lines = all_lines(url, SelfAuthenticating(bucket=bucket))
    error = step_error(result)
    assert "the proxy cannot be used: it refused the connection" in error
    assert "HTTPS_PROXY" in error
    assert "secret" not in f"{error}{lines}"
    assert "password" not in f"{error}{lines}"
    assert list(storage_client.list_blobs(bucket)) == []


def test_a_host_that_does_not_exist_is_named_without_what_is_secret_in_its_url(bucket: str) -> None:
    url = "http://no-such-host.invalid/orders?key=secret"
    result, lines = all_lines(url, PipesCloudFunctionClient(bucket=bucket, max_attempts=2, retry_delay=0.1))
    error = step_error(result)
    assert "the host name no-such-host.invalid cannot be resolved" in error
    assert "secret" not in f"{error}{lines}"
    assert "attempt 2 of 2: attempt 1 was not sent" in lines
