"""Messages in the HTTP response: a real function, real HTTP, a Dagster instance, and no storage."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import flask
import pytest
from dagster import AssetCheckSpec, AssetExecutionContext, EnvVar, MaterializeResult, RetryPolicy, asset
from dagster_pipes import PIPES_PROTOCOL_VERSION
from gcf_pipes._encoding import encode_message, make_message
from gcf_pipes._shared.protocol import MAX_STREAMED_MESSAGES_BYTES, NDJSON

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from dagster_gcf_pipes._messages.session_reader import MAX_SILENT_HEARTBEATS
from dagster_gcf_pipes.local._functions import FunctionServer, run_function
from tests.dagster_runs import calling_asset, failure_text, logged, run
from tests.serving import serving
from tests.storage.servers import full_listener
from tests.waiting import wait_until

FUNCTIONS = Path(__file__).parents[1] / "functions"
NO_EMULATOR = "http://127.0.0.1:1"
"""Nothing listens there: a function that used it would fail."""


@pytest.fixture(scope="module")
def behaviors() -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=NO_EMULATOR) as server:
        yield server


@pytest.fixture(scope="module")
def own_endings() -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "endings" / "main.py", emulator_url=NO_EMULATOR, threads=4) as server:
        yield server


@pytest.fixture
def client() -> PipesCloudFunctionClient:
    return PipesCloudFunctionClient(messages="response")


def call(url: str, client: PipesCloudFunctionClient, **event: Any) -> PipesCloudFunctionCompletedInvocation:
    """Return the results of a call that succeeds."""
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    result, _ = run(calling_asset(url, event, on_invocation=seen.append), client)
    assert result.success, failure_text(result)
    return seen[0]


def failure(url: str, client: PipesCloudFunctionClient, **event: Any) -> str:
    result, _ = run(calling_asset(url, event), client)
    assert not result.success
    return failure_text(result)


def test_messages_and_response_arrive(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    result, lines = run(calling_asset(behaviors.url, {"mode": "levels"}), client)
    assert result.success
    assert lines == [f"a line at {level}" for level in ("debug", "info", "warning", "error", "critical")]
    specs = [AssetCheckSpec("not_empty", asset="orders"), AssetCheckSpec("fresh", asset="orders")]
    seen: list[PipesCloudFunctionCompletedInvocation] = []
    event = {"mode": "materialize"}
    result, _ = run(calling_asset(behaviors.url, event, on_invocation=seen.append, check_specs=specs), client)
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True, False]
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["rows"].value == 3
    assert "cloud_function/duration_seconds" in materialization.metadata
    (invocation,) = seen
    assert invocation.response.json() == {"rows": 3}
    assert invocation.get_custom_messages() == ({"table": "orders", "rows": 3},)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"body": "à la carte", "status": 201}, "à la carte"),
        ({"body": "x" * 1_000_000, "status": 200}, "x" * 1_000_000),
    ],
    ids=["short", "1 MB"],
)
def test_a_text_of_any_size_is_the_response(
    own_endings: FunctionServer, client: PipesCloudFunctionClient, answer: dict[str, Any], text: str
) -> None:
    response = call(own_endings.url, client, mode="answers", **answer).response
    assert response is not None
    assert (response.status_code, response.text) == (answer["status"], text)


def test_the_response_may_be_empty(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    response = call(behaviors.url, client, mode="returns_none").response
    assert response is not None
    assert (response.status_code, response.content) == (204, b"")


def test_a_response_without_text_arrives_as_it_is(client: PipesCloudFunctionClient, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from gcf_pipes import pipes_function\n"
        "@pipes_function\n"
        "def main(request, pipes):\n"
        "    return bytes(range(256)) * 40\n"
    )
    with run_function(tmp_path, emulator_url=NO_EMULATOR) as server:
        response = call(server.url, client).response
    assert response is not None
    assert response.content == bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("raises", "The function raised ValueError: the table is broken"),
        ("exits", "SystemExit: stopped by sys.exit"),
        ("answers_500", "chosen by the function"),
        ("returns_nonsense", "TypeError"),
    ],
)
def test_a_failure_is_the_function_s_own(
    behaviors: FunctionServer, client: PipesCloudFunctionClient, mode: str, text: str
) -> None:
    assert text in failure(behaviors.url, client, mode=mode)


def test_a_failed_function_keeps_what_it_reported(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    text = failure(behaviors.url, client, mode="materialize_and_raise")
    assert "after all was reported" in text


def test_a_line_arrives_while_the_function_runs(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    """The function waits for longer than the test, unless its line arrives before it ends."""
    seen = Event()

    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        def watch() -> None:
            wait_until(lambda: "a long computation" in logged(context.instance, context.run_id))
            seen.set()

        Thread(target=watch, daemon=True).start()
        event = {"mode": "waits", "seconds": 3}
        invocation = cloud_function.run(context=context, function_url=behaviors.url, event=event)
        assert seen.is_set()
        return invocation.get_materialize_result()

    result, _ = run(orders, client)
    assert result.success


def test_many_lines_arrive_in_order(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    result, lines = run(calling_asset(behaviors.url, {"mode": "lines", "count": 20_000, "tag": "line"}), client)
    assert result.success
    assert lines == [f"line {number}" for number in range(20_000)]


def test_calls_at_once_do_not_mix(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    runs: dict[int, list[str]] = {}

    def make(number: int) -> None:
        event = {"mode": "lines", "count": 300, "tag": f"tag{number}"}
        runs[number] = run(calling_asset(behaviors.url, event), client)[1]

    threads = [Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == {number: [f"tag{number} {line}" for line in range(300)] for number in range(6)}


def test_the_function_s_output_is_forwarded(own_endings: FunctionServer, capsys: pytest.CaptureFixture[str]) -> None:
    client = PipesCloudFunctionClient(messages="response", forward_logs=True)
    call(own_endings.url, client, mode="logs_json", text="a line of stdlib logging")
    assert "a line of stdlib logging" in "".join(capsys.readouterr())


def test_a_thread_that_stays_is_refused(own_endings: FunctionServer, client: PipesCloudFunctionClient) -> None:
    call(own_endings.url, client, mode="leaves_a_thread", key="response", pause=0.01)
    noted: Callable[[], Any] = lambda: call(own_endings.url, client, mode="asked", key="response")  # noqa: E731
    wait_until(lambda: noted().response.json()["noted"] == "Cannot send message after pipes context is closed.")


def test_more_than_the_platform_sends_is_an_error(
    own_endings: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    text = failure(own_endings.url, client, mode="has_much_text")
    assert "the start" in text
    report = call(own_endings.url, client, mode="reports", size=MAX_STREAMED_MESSAGES_BYTES).response
    assert report is not None
    assert f"at most {MAX_STREAMED_MESSAGES_BYTES:,} bytes" in report.json()["refused"]
    text = failure(own_endings.url, client, mode="answers", body="x" * 10_000_000, status=200)
    assert "Expected the function's response to have at most" in text
    assert "messages='bucket'" in text


def test_a_function_that_dies_is_not_called_again(client: PipesCloudFunctionClient) -> None:
    """Neither by the client nor by Dagster's own retries: nobody knows what the first execution does."""
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=NO_EMULATOR) as server:
        retried = calling_asset(server.url, {"mode": "dies_later"}, retry_policy=RetryPolicy(max_retries=3))
        result, lines = run(retried, client)
    assert lines == ["loading everything bit by bit"]
    text = failure_text(result)
    assert "it broke off" in text
    assert "The call is not retried: the request was sent, and without a bucket nothing keeps" in text
    assert "2 messages arrived, but it did not close its Pipes session" in text


def test_a_lost_connection_ends_the_function(
    behaviors: FunctionServer, client: PipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine. In the cloud, the platform keeps the connection to the function."""
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", -3599.0)
    short = PipesCloudFunctionClient(messages="response", function_timeout=3600)
    text = failure(behaviors.url, short, mode="loops_with_messages")
    assert "not within 1 s" in text
    wait_until(lambda: "PipesCancelledError: Dagster no longer reads the response." in behaviors.child.output)


def stream(*lines: bytes, then: Callable[[], object] = lambda: None) -> flask.Flask:
    """Return a function that responds with such lines."""
    app = flask.Flask("stream")

    @app.post("/")
    def respond() -> flask.Response:
        def pieces() -> Iterator[bytes]:
            yield from lines
            then()

        return flask.Response(pieces(), mimetype=NDJSON)

    return app


def message(method: Any, **params: Any) -> bytes:
    return encode_message(make_message(method, params))


OPENED = message("opened", extras={"closes_with_request": True, "heartbeat_interval": 0.1})
LOG = message("log", message="a line", level="INFO")
CLOSED = message("closed", response={"status": 200, "content_type": "text/plain", "body": "done"})


@pytest.mark.parametrize(
    "lines",
    [
        [OPENED, LOG, CLOSED],
        [OPENED, b"\n", b"\n", LOG, b"\n", CLOSED],
        [OPENED + b"\n" + LOG + CLOSED],
        [bytes([byte]) for byte in OPENED + b"\n" + LOG + CLOSED],
        [OPENED, LOG, CLOSED, b"\n"],
    ],
    ids=["lines", "heartbeats", "at once", "bytes", "heartbeat at the end"],
)
def test_lines_may_arrive_in_any_pieces(client: PipesCloudFunctionClient, lines: list[bytes]) -> None:
    with serving(stream(*lines)) as port:
        result, logs = run(calling_asset(f"http://127.0.0.1:{port}/", {}), client)
    assert result.success
    assert logs == ["a line"]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], "it ended without `closed` after 0 messages"),
        ([OPENED, LOG], "it ended without `closed` after 2 messages"),
        ([OPENED, LOG, CLOSED[:-1]], "it ended without `closed` after 2 messages"),
        ([OPENED, b"not JSON\n", CLOSED], "line 1 of the HTTP response"),
        ([LOG, CLOSED], "Expected `opened` before any other message"),
        ([OPENED, OPENED, CLOSED], "Expected one `opened`"),
        ([OPENED, CLOSED, LOG], "Expected no message after `closed`"),
        (
            [OPENED, LOG.replace(PIPES_PROTOCOL_VERSION.encode(), b"9.9")],
            "Expected version '0.1' of the Pipes protocol in line 1 of the HTTP response, got '9.9'",
        ),
    ],
)
def test_a_bad_stream_is_an_error(client: PipesCloudFunctionClient, lines: list[bytes], text: str) -> None:
    with serving(stream(*lines)) as port:
        assert text in failure(f"http://127.0.0.1:{port}/", client)


def test_a_silent_function_is_given_up(client: PipesCloudFunctionClient) -> None:
    """After three heartbeats without a line, long before its timeout."""
    ended = Event()
    with serving(stream(OPENED, LOG, then=lambda: ended.wait(60))) as port:
        started = time.monotonic()
        text = failure(f"http://127.0.0.1:{port}/", client)
        took = time.monotonic() - started
        ended.set()
    assert "The function has shown no sign of life" in text
    assert "The call is not retried" in text
    assert took >= MAX_SILENT_HEARTBEATS * 0.1


@pytest.mark.parametrize(("status", "requests"), [(429, 1), (500, 1), (503, 1)])
def test_what_was_sent_is_sent_once(client: PipesCloudFunctionClient, status: int, requests: int) -> None:
    counted: list[int] = []
    app = flask.Flask("platform")

    @app.post("/")
    def respond() -> tuple[str, int]:
        counted.append(1)
        return "there was no available instance", status

    with serving(app) as port:
        text = failure(f"http://127.0.0.1:{port}/", client)
    assert len(counted) == requests
    assert "The call is not retried: the request was sent" in text


def test_a_function_that_was_not_reached_is_called_again() -> None:
    client = PipesCloudFunctionClient(messages="response", retry_delay=0.01, max_attempts=2, connect_timeout=1)
    with full_listener() as url:
        text = failure(url, client)
    assert "Before that: attempt 1 was not sent" in text
    assert "not retried" not in text


def test_many_calls_need_a_bucket(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        cloud_function.run_many(context=context, function_url=behaviors.url, events={"a": {}})

    result, _ = run(orders, client)
    assert "Expected `messages='bucket'` for many calls, got 'response'." in failure_text(result)


def test_a_large_context_needs_a_bucket(behaviors: FunctionServer, client: PipesCloudFunctionClient) -> None:
    large = calling_asset(behaviors.url, {"mode": "ok"}, extras={"large": "x" * 3_000_000})
    result, _ = run(large, client)
    assert "which is too large for the request.\nFix: Set `messages` of the resource to 'bucket'" in failure_text(
        result
    )


def test_a_variable_may_choose_the_channel(behaviors: FunctionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESSAGES", "response")
    monkeypatch.setenv("PIPES_BUCKET", "")
    client = PipesCloudFunctionClient(messages=EnvVar("MESSAGES"), bucket=EnvVar("PIPES_BUCKET"))
    assert call(behaviors.url, client, mode="ok").response is not None


def test_a_bucket_would_not_be_used() -> None:
    with pytest.raises(ValueError, match="expected no bucket with `messages='response'`"):
        PipesCloudFunctionClient(messages="response", bucket="lake")
    with pytest.raises(ValueError, match="expected 'bucket', 'response' or 'logging', got 'mail'"):
        PipesCloudFunctionClient(messages="mail", bucket="lake")
