"""The output of a request reaches its own session once and whole, and still the function's own output."""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import requests
from dagster import (
    DagsterInstance,
    materialize,
)
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests import sessions
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset
from tests.faults.plan import EVERY, UPLOAD, Fault, storage_forbidden
from tests.faults.proxy import FaultProxy
from tests.sessions import stored_sessions
from tests.waiting import in_background

COUNT = 200
PLATFORM = {"K_SERVICE": "orders", "GCE_METADATA_HOST": "127.0.0.1:9"}  # where nothing listens
ENVIRONMENTS = {
    "local": {},
    "local with execution ids": {"LOG_EXECUTION_ID": "true"},
    "platform": PLATFORM,
    "platform with execution ids": {**PLATFORM, "LOG_EXECUTION_ID": "true"},
}
STDOUT_WAYS = ("print", "thread0", "thread1", "logger", "writelines")
STDERR_WAYS = ("stderr", "logging", "warning")

Printed = Callable[[str], str]


@pytest.fixture(scope="module", params=ENVIRONMENTS.values(), ids=[*ENVIRONMENTS])
def printing(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[FunctionServer]:
    source = FUNCTIONS / "printing" / "main.py"
    with run_function(source, emulator_url=emulator.url, threads=8, env=request.param) as server:
        yield server


@pytest.fixture
def printed(printing: FunctionServer) -> Printed:
    """Returns what the function printed since the test began; a last call prints a mark to wait for."""
    start = len(printing.child.lines)

    def read(bucket: str) -> str:
        mark = uuid.uuid4().hex
        call(printing, bucket, {"mode": "prints", "text": mark, "count": 1}, include_stdio=False).raise_for_status()
        printing.child.wait_for_output(mark)
        return "".join(printing.child.lines[start:])

    return read


def call(function: FunctionServer, bucket: str, event: dict[str, Any], **options: Any) -> requests.Response:
    """Call a function that forwards its output, unless the options say otherwise."""
    return sessions.call(function.url, bucket, event, **{"include_stdio": True, **options})


def print_everything(function: FunctionServer, bucket: str, tags: list[str], *, forwarded_tags: set[str]) -> None:
    """Call the function for all tags at once."""
    together = Barrier(len(tags))

    def call_one(tag: str) -> None:
        together.wait()
        event = {"mode": "everything", "tag": tag, "count": COUNT}
        call(function, bucket, event, include_stdio=tag in forwarded_tags).raise_for_status()

    with ThreadPoolExecutor(len(tags)) as pool:
        list(pool.map(call_one, tags))


def forwarded(messages: list[dict[str, Any]], stream: str) -> str:
    """Return the text of a stream, as Dagster writes it."""
    streams = [message["params"] for message in messages if message["method"] == "log_external_stream"]
    return "".join(params["text"] for params in streams if params["stream"] == stream)


def only_session(storage_client: storage.Client, bucket: str) -> list[dict[str, Any]]:
    (messages,) = stored_sessions(storage_client, bucket).values()
    return messages


def tagged(output: str) -> Counter[str]:
    """Count the items that `everything` prints, whatever the handlers put around them."""
    return Counter(re.findall(r"tag\d+ \w+ \d+", output))


def expected(tag: str, *ways: str) -> Counter[str]:
    return Counter(f"{tag} {way} {number}" for way in ways for number in range(COUNT))


def test_concurrent_requests_get_their_own_output_once(
    printing: FunctionServer, bucket: str, storage_client: storage.Client, printed: Printed
) -> None:
    tags = [f"tag{number}" for number in range(8)]
    print_everything(printing, bucket, tags, forwarded_tags=set(tags))
    stored = stored_sessions(storage_client, bucket).values()
    outputs = {re.findall(r"tag\d+", forwarded(messages, "stdout"))[0]: messages for messages in stored}
    assert sorted(outputs) == tags
    for tag, messages in outputs.items():
        stdout, stderr = forwarded(messages, "stdout"), forwarded(messages, "stderr")
        assert tagged(stdout) == expected(tag, *STDOUT_WAYS)
        assert Counter(re.findall(r"(?m)(tag\d+ \w+ \d+)$", stderr)) == expected(tag, *STDERR_WAYS)
        assert "logging.googleapis.com" not in stdout + stderr
        assert [line for line in stdout.splitlines() if " print " in line] == [f"{tag} print {n}" for n in range(COUNT)]
        assert (messages[0]["method"], messages[-1]["method"]) == ("opened", "closed")
    everything = sum((expected(tag, *STDOUT_WAYS, *STDERR_WAYS) for tag in tags), Counter())
    original = tagged(printed(bucket))
    assert {line: original[line] for line in everything} == everything


def test_output_is_forwarded_only_for_requests_that_ask_for_it(
    printing: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    print_everything(printing, bucket, ["tag0", "tag1", "tag2", "tag3"], forwarded_tags={"tag1", "tag2"})
    stored = stored_sessions(storage_client, bucket).values()
    outputs = [set(re.findall(r"tag\d", forwarded(m, "stdout") + forwarded(m, "stderr"))) for m in stored]
    assert sorted(outputs, key=sorted) == [set(), set(), {"tag1"}, {"tag2"}]


def test_a_line_printed_in_pieces_is_forwarded_whole(
    printing: FunctionServer, bucket: str, storage_client: storage.Client, printed: Printed
) -> None:
    call(printing, bucket, {"mode": "partial_lines"}).raise_for_status()
    messages = only_session(storage_client, bucket)
    texts = [message["params"]["text"] for message in messages if message["method"] == "log_external_stream"]
    assert texts == ["piece 0\n", "piece 1\n", "piece 2\n", "no end"]
    output = printed(bucket)
    assert [output.count(line) for line in ("piece 0", "piece 1", "piece 2", "no end")] == [1, 1, 1, 1]


def test_text_of_any_kind_is_forwarded_as_it_is(
    printing: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    call(printing, bucket, {"mode": "odd_text"}).raise_for_status()
    messages = only_session(storage_client, bucket)
    assert forwarded(messages, "stdout") == (
        f"ünïcödé ☃ {'x' * 600_000} end\n"
        '{"message": "json of the user", "severity": "INFO"}\n'
        "{not json\n"
        "one\ntwo\n\nfour\n"
    )
    assert forwarded(messages, "stderr") == "surrogate \\udc80\n"


def test_a_traceback_is_forwarded_once_and_printed_once(
    printing: FunctionServer, bucket: str, storage_client: storage.Client, printed: Printed
) -> None:
    assert call(printing, bucket, {"mode": "raises", "end": ""}).status_code == 500
    messages = only_session(storage_client, bucket)
    assert forwarded(messages, "stdout") == "about to raise"
    stderr = forwarded(messages, "stderr")
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert stderr.endswith("\nValueError: the table is broken\n")
    assert messages[-1]["params"]["exception"]["name"] == "ValueError"
    assert printed(bucket).count("ValueError: the table is broken") == 1


def test_output_after_the_session_is_not_forwarded(
    printing: FunctionServer, bucket: str, storage_client: storage.Client, printed: Printed
) -> None:
    call(printing, bucket, {"mode": "late"}).raise_for_status()
    assert call(printing, bucket, {"mode": "release"}).json() == {"ended": True}
    stored = stored_sessions(storage_client, bucket).values()
    assert sorted(forwarded(m, "stdout") + forwarded(m, "stderr") for m in stored) == ["", "in time\n"]
    output = printed(bucket)
    assert (output.count("too late"), output.count("too late as well")) == (2, 1)


def test_print_does_not_raise_after_the_session_is_closed(
    printing: FunctionServer, bucket: str, storage_client: storage.Client, printed: Printed
) -> None:
    call(printing, bucket, {"mode": "closes"}).raise_for_status()
    assert forwarded(only_session(storage_client, bucket), "stdout") == "before\n"
    assert printed(bucket).count("after the end") == 1


def test_print_does_not_raise_after_the_deadline(
    printing: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    headers = {"Dagster-Pipes-Timeout": "1"}
    assert call(printing, bucket, {"mode": "overtime"}, headers=headers).status_code == 500
    messages = only_session(storage_client, bucket)
    assert forwarded(messages, "stdout").endswith("still printing\nafter the deadline\n")
    assert "PipesDeadlineExceededError: The function ran out of time" in forwarded(messages, "stderr")


def test_print_does_not_raise_when_messages_cannot_be_stored(emulator: Emulator, bucket: str) -> None:
    plan = Fault(UPLOAD.of(r"/2\.json$"), storage_forbidden(), EVERY)
    source = FUNCTIONS / "printing" / "main.py"
    with FaultProxy(emulator.url) as proxy, run_function(source, emulator_url=proxy.url) as function:
        with proxy.planned(plan):
            response = call(function, bucket, {"mode": "slow_prints", "text": "unstored", "count": 20})
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "messages_not_stored"
        function.child.wait_for_output("unstored 19")


def test_redirected_output_is_not_forwarded(emulator: Emulator, bucket: str, storage_client: storage.Client) -> None:
    with run_function(FUNCTIONS / "printing" / "main.py", emulator_url=emulator.url, threads=4) as function:
        redirecting = in_background(lambda: call(function, bucket, {"mode": "redirects"}))
        assert call(function, bucket, {"mode": "awaits_redirection"}, include_stdio=False).json() == {
            "redirected": True
        }
        call(function, bucket, {"mode": "begins_while_another_redirects"}).raise_for_status()
        assert redirecting.result(60).json() == {"stdout": "out", "stderr": "err"}
    texts = [forwarded(messages, "stdout") for messages in stored_sessions(storage_client, bucket).values()]
    assert sorted(texts) == ["", "", "after the redirection\n"]


@pytest.mark.parametrize("printing", [{}], ids=["local"], indirect=True)
def test_a_dagster_run_has_the_output_in_its_stdout_and_stderr(
    printing: FunctionServer, bucket: str, tmp_path: Path
) -> None:
    orders = calling_asset(printing.url, {"mode": "everything", "tag": "tag0", "count": COUNT})
    client = PipesCloudFunctionClient(bucket=bucket, forward_logs=True)
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = materialize([orders], resources={"cloud_function": client}, instance=instance)
        (captured,) = [e for e in result.all_events if e.event_type_value == "LOGS_CAPTURED"]
        log_key = [result.run_id, "compute_logs", captured.logs_captured_data.file_key]
        logs = instance.compute_log_manager.get_log_data(log_key)
    assert tagged((logs.stdout or b"").decode()) == expected("tag0", *STDOUT_WAYS)
    assert tagged((logs.stderr or b"").decode()) == expected("tag0", *STDERR_WAYS)


def test_a_stream_that_cannot_be_forwarded_is_logged_once(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    with run_function(FUNCTIONS / "slotted" / "main.py", emulator_url=emulator.url) as function:
        for _ in range(2):
            call(function, bucket, {}).raise_for_status()
        function.child.wait_for_output("stdout cannot be forwarded to Dagster: it is a main.SlottedStream, which takes")
        assert function.child.output.count("cannot be forwarded") == 1
        assert function.child.output.count("to stdout\n") == 2
    for messages in stored_sessions(storage_client, bucket).values():
        assert forwarded(messages, "stderr") == "to stderr\n"
    assert "exception" not in messages[-1]["params"]
