"""The outcome of a call depends on who answered, not on the status alone."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import requests
import trustme
from dagster import DagsterInstance, ExecuteInProcessResult, materialize
from gcf_pipes._shared.protocol import MAX_CLOSED_RESPONSE_BYTES
from google.cloud import storage

from dagster_gcf_pipes import (
    PipesCloudFunctionCallError,
    PipesCloudFunctionClient,
    PipesCloudFunctionCompletedInvocation,
)
from dagster_gcf_pipes._attempts import RESPONSE_TIMEOUT
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, failure_text, run, step_error
from tests.faults.plan import (
    CALL,
    EVERY,
    INSTANCE_DIED,
    READ,
    Delay,
    DelayAnswer,
    DeliverLate,
    Fault,
    ResetAfter,
    Status,
    StatusAfter,
    after,
    storage_forbidden,
)
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient
from tests.quotes import Quote


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
    """Make a run, and return the result and all log lines, also ours."""
    with DagsterInstance.ephemeral() as instance:
        asset = calling_asset(url, dict(event))
        result = materialize([asset], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        return result, "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))


# ------------------------------------------------------------------------------------------- the function's own answer


def test_a_fast_failure_does_not_announce_another_attempt(
    function: FunctionServer, link: FaultProxy, bucket: str
) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, poll_interval=3)
    for _ in range(5):
        result, lines = all_lines(link.url, client, mode="answers_500")
        assert not result.success
        assert "attempt" not in lines
    assert [request.status for request in link.requests] == [500] * 5


TOO_LONG = {"mode": "lines", "count": 0, "tag": "x" * MAX_CLOSED_RESPONSE_BYTES}


@pytest.mark.parametrize("fault", [ResetAfter(), StatusAfter(503, INSTANCE_DIED.body)])
def test_a_lost_response_is_not_a_proxys_page_or_our_409(
    function: FunctionServer, link: FaultProxy, bucket: str, fault: ResetAfter | StatusAfter, quote: Quote
) -> None:
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    client = PipesCloudFunctionClient(bucket=bucket, retry_delay=0.1)
    with link.planned(Fault(CALL, fault)):
        short, _ = run(calling_asset(link.url, {"mode": "ok"}, on_invocation=seen.append), client)
    with link.planned(Fault(CALL, fault)):
        long, _ = run(calling_asset(link.url, TOO_LONG, on_invocation=seen.append), client)
    assert short.success
    assert long.success
    assert seen[0].response.json() == {"ok": True}  # the copy that came with the messages
    with pytest.raises(PipesCloudFunctionCallError) as caught:
        _ = seen[1].response
    quote("response_lost", str(caught.value.description))


def test_a_response_long_after_closed_is_the_functions(function: FunctionServer, link: FaultProxy, bucket: str) -> None:
    assert RESPONSE_TIMEOUT == 90
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    client = PipesCloudFunctionClient(bucket=bucket, drain_timeout=1)
    with link.planned(Fault(CALL, DelayAnswer(3.0))):
        result, _ = run(calling_asset(link.url, {"mode": "ok"}, on_invocation=seen.append), client)
    assert result.success
    assert seen[0].response.json() == {"ok": True}


# --------------------------------------------------------------------------------------- a function without our runtime


@pytest.mark.parametrize("status", [302, 400, 403, 409, 429, 500, 503])
def test_a_plain_functions_reports_are_kept_for_any_status(by_hand: FunctionServer, bucket: str, status: int) -> None:
    """The step fails, because nobody knows whose answer it was. The reader sees the messages only after the answer."""
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


def test_a_plain_function_that_answers_2xx_is_green(by_hand: FunctionServer, bucket: str) -> None:
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    asset = calling_asset(by_hand.url, {"mode": "answers", "status": 201}, on_invocation=seen.append)
    result, lines = run(asset, PipesCloudFunctionClient(bucket=bucket))
    assert result.success
    assert lines == ["a line"]
    assert seen[0].response.text == "chosen by the function"


def test_a_plain_function_that_keeps_writing_is_read_for_a_time(
    by_hand: FunctionServer, bucket: str, quote: Quote
) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, drain_timeout=2)
    result, lines = run(calling_asset(by_hand.url, {"mode": "writes_on", "status": 200}), client)
    quote("not_closed", failure_text(result))
    assert 2 < len(lines) < 100


# ------------------------------------------------------------------------------------- a 2xx that is not the function's

LOGIN_PAGE = Status(200, b"<html>log in</html>")


def lost_then_login_page(seconds: float) -> tuple[Fault, Fault]:
    """The first delivery is lost and arrives later. A proxy answers the second one."""
    return Fault(CALL, DeliverLate(seconds)), Fault(CALL, LOGIN_PAGE, after(1))


def test_a_login_page_is_not_the_answer_to_an_earlier_attempt(
    function: FunctionServer, link: FaultProxy, bucket: str
) -> None:
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    client = PipesCloudFunctionClient(bucket=bucket, retry_delay=0.1)
    asset = calling_asset(link.url, {"mode": "waits", "seconds": 3}, on_invocation=seen.append)
    with link.planned(*lost_then_login_page(2)):
        result, lines = run(asset, client)
    assert result.success
    assert lines == ["a long computation"]
    assert seen[0].response.json() == {}  # the copy that came with the messages


def test_a_login_page_does_not_make_a_failed_function_green(by_hand: FunctionServer, bucket: str, quote: Quote) -> None:
    client = PipesCloudFunctionClient(bucket=bucket, retry_delay=0.1)
    with FaultProxy(by_hand.url) as link, link.planned(*lost_then_login_page(2)):
        result, _ = run(calling_asset(link.url, {"mode": "answers", "status": 500}), client)
    quote("response_of_somebody_else", failure_text(result))


def test_a_call_answered_by_a_login_page_runs_nothing_later(
    emulator: Emulator,
    function: FunctionServer,
    link: FaultProxy,
    bucket: str,
    storage_client: storage.Client,
    quote: Quote,
) -> None:
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    client = PipesCloudFunctionClient(bucket=bucket, retry_delay=0.1, drain_timeout=1)
    with link.planned(*lost_then_login_page(3600)):  # it is delivered when the plan ends
        result, lines = run(calling_asset(link.url, {"mode": "ok"}), client)
    quote("login_page_of_a_proxy", failure_text(result))
    assert lines == []
    assert [name for name in names(storage_client, bucket) if name != "cancel"] == ["1.json"]


def test_a_call_with_unreadable_messages_runs_nothing_later(
    emulator: Emulator, function: FunctionServer, link: FaultProxy, bucket: str, storage_client: storage.Client
) -> None:
    """Otherwise each retry of the step would leave another delivery behind."""
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    forbidden = Fault(READ, storage_forbidden("storage.objects.get"), EVERY)
    with FaultProxy(emulator.url, [forbidden]) as storage_link:
        client = ProxiedClient(bucket=bucket, api_endpoint=storage_link.url)
        with link.planned(Fault(CALL, Delay(3600))):
            result, _ = run(calling_asset(link.url, {"mode": "ok"}), client)
    assert "permission denied" in step_error(result)
    assert [name for name in names(storage_client, bucket) if name != "cancel"] == ["1.json"]


def names(storage_client: storage.Client, bucket: str) -> list[str]:
    return sorted(blob.name.rpartition("/")[2] for blob in storage_client.list_blobs(bucket))


@pytest.mark.parametrize("target", ["http://[", "\xff\xfe", "http://a..b/"])
def test_a_redirect_whose_target_is_malformed_is_a_redirect(
    function: FunctionServer, link: FaultProxy, bucket: str, target: str
) -> None:
    with link.planned(Fault(CALL, Status(302, b"", (("Location", target),)))):
        result, _ = run(calling_asset(link.url, {"mode": "ok"}), PipesCloudFunctionClient(bucket=bucket))
    assert "Redirects are not followed" in failure_text(result)


# -------------------------------------------------------------------------------------------------- it was not sent


def test_a_missing_file_of_certificate_authorities_is_named(
    bucket: str, monkeypatch: pytest.MonkeyPatch, quote: Quote
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/no-such-company/ca.pem")
    result, _ = all_lines("https://127.0.0.1:9/", PipesCloudFunctionClient(bucket=bucket))
    quote("certificate_authorities_missing", failure_text(result))


@pytest.mark.parametrize(
    "proxy", ["http://a..b:80", "http://[::1", "http://proxy:99999", "ftp://proxy:3128", "http://user:pw@proxy:port"]
)
def test_a_proxy_with_a_bad_url_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    result, _ = all_lines("http://orders.example/", SelfAuthenticating(bucket=bucket, max_attempts=1))
    error = step_error(result)
    assert "proxy" in error.partition("Could not connect to the function: ")[2].partition("HTTP_PROXY")[0]
    assert "pw" not in error.partition("The above")[0]


def test_a_refused_local_connection_says_how_to_start_the_function(
    storage_client: storage.Client, bucket: str, refused_url: str
) -> None:
    result, lines = all_lines(refused_url, PipesCloudFunctionClient(bucket=bucket))
    error = step_error(result)
    address = refused_url.removeprefix("http://")
    assert f"Could not connect to the function: {address} refused the connection." in error
    assert f"Start the function: `functions-framework --target=main --port={address.rpartition(':')[2]}`" in error
    assert "urllib3" not in error
    assert "Max retries" not in error
    assert "attempt" not in lines
    assert list(storage_client.list_blobs(bucket)) == []


@contextmanager
def tls_server() -> Iterator[str]:
    """Run a server with a certificate that is not trusted here."""
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


def test_an_untrusted_certificate_is_not_retried(storage_client: storage.Client, bucket: str, quote: Quote) -> None:
    with tls_server() as url:
        result, lines = all_lines(url, PipesCloudFunctionClient(bucket=bucket))
    quote("certificate_not_trusted", failure_text(result))
    assert "attempt" not in lines
    assert list(storage_client.list_blobs(bucket)) == []


def test_a_server_without_tls_is_named(function: FunctionServer, bucket: str, quote: Quote) -> None:
    url = function.url.replace("http://", "https://")
    result, _ = all_lines(url, PipesCloudFunctionClient(bucket=bucket, max_attempts=1))
    quote("server_without_tls", failure_text(result))


def test_an_unreachable_proxy_is_named(
    bucket: str, storage_client: storage.Client, monkeypatch: pytest.MonkeyPatch, refused_url: str, quote: Quote
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", refused_url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "https://user:password@orders.example/?key=secret"
    result, lines = all_lines(url, SelfAuthenticating(bucket=bucket))
    error = step_error(result)
    quote("proxy_refused", failure_text(result))
    assert "secret" not in f"{error}{lines}"
    assert "password" not in f"{error}{lines}"
    assert list(storage_client.list_blobs(bucket)) == []


def test_an_unknown_host_is_named_without_the_secrets_of_its_url(bucket: str, quote: Quote) -> None:
    url = "http://no-such-host.invalid/orders?key=secret"
    result, lines = all_lines(url, PipesCloudFunctionClient(bucket=bucket, max_attempts=2, retry_delay=0.1))
    error = step_error(result)
    quote("unknown_host", failure_text(result))
    assert "secret" not in f"{error}{lines}"
    assert "attempt 2 of 2: attempt 1 was not sent" in lines
