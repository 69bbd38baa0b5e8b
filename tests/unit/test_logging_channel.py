"""The channel that prints messages as log entries: to the real stdout, which the agent's stand-in reads."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Thread
from threading import enumerate as threads_now
from typing import Any

import flask
import pytest
from dagster_pipes import DagsterPipesError, DagsterPipesWarning
from gcf_pipes import (
    PipesCloudLoggingMessageWriter,
    PipesDeadlineExceededError,
    PipesMessagesNotStoredError,
    PipesRequestError,
)
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._encoding import make_message
from gcf_pipes._execution import Execution, Platform, Trace
from gcf_pipes._logging_channel import MAX_LINE_BYTES, LoggingChannel
from gcf_pipes._structured_logs import label_request_logs

from tests.google.logging_agent import Agent
from tests.google.logging_api import LoggingApi
from tests.waiting import wait_until

SESSION = "0123456789abcdef0123456789abcdef"
PROJECT = "my-project"
Entries = list[dict[str, Any]]


class Stdout:
    """A pipe, as the process's stdout is one, with Cloud Run's agent at its other end."""

    def __init__(self) -> None:
        reading, self.descriptor = os.pipe()
        self._api = LoggingApi()
        self._output = open(reading, "rb")  # noqa: SIM115 - closed in `close`
        self._agent = Thread(target=Agent(self._api, PROJECT).collect, args=(self._output,))
        self._agent.start()

    def __call__(self) -> Entries:
        """Return the entries of sessions, once everything is printed."""
        self.close()
        return [entry for entry in self._api.entries[PROJECT] if "dagster_pipes" in entry.get("jsonPayload", {})]

    def close(self) -> None:
        if not self._output.closed:
            os.close(self.descriptor)
            self._agent.join()
            self._output.close()


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stdout]:
    stdout = Stdout()
    monkeypatch.setattr("gcf_pipes._logging_channel.STDOUT", stdout.descriptor)
    yield stdout
    stdout.close()


def channel(session: str = SESSION, **options: Any) -> LoggingChannel:
    return LoggingChannel(session, CallDeadline(), **options)


def log_line(text: str, level: str = "INFO") -> Any:
    return make_message("log", {"message": text, "level": level})


def messages(entries: Entries, session: str = SESSION) -> list[Any]:
    """Return the messages of a session, as a reader joins them."""
    fields = [entry["jsonPayload"]["dagster_pipes"] for entry in entries]
    own = [each for each in fields if each["session"] == session]
    assert [each["n"] for each in own] == list(range(1, len(own) + 1))
    assert len({each["delivery"] for each in own}) <= 1
    return [json.loads(line) for line in "".join(each["data"] for each in own).splitlines() if line]


def texts(entries: Entries, session: str = SESSION) -> list[str]:
    return [message["params"]["message"] for message in messages(entries, session) if message["method"] == "log"]


def test_a_message_is_an_entry_with_its_severity_and_text(printed: Stdout) -> None:
    channel().write_message(log_line("3 rows", "WARNING"))
    (entry,) = printed()
    assert (entry["severity"], entry["jsonPayload"]["message"]) == ("WARNING", "3 rows")
    (message,) = messages([entry])
    assert message["params"] == {"message": "3 rows", "level": "WARNING"}


@pytest.mark.parametrize(
    "text",
    ["x" * 300_000, '"\\' * 50_000, "\n" * 50_000, "\x00\x1f" * 20_000, "ä€😀" * 20_000, "\ud800", "x" * 1_700, ""],
    ids=["long", "escaped", "newlines", "control", "unicode", "surrogate", "about one entry", "empty"],
)
def test_each_line_fits_one_write_to_a_pipe(text: str, printed: Stdout, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    original = os.write

    def write(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        return original(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    channel().write_message(log_line(text))
    entries = printed()
    assert texts(entries) == [text]
    assert max(written) <= MAX_LINE_BYTES
    assert len(written) == len(entries)


def test_threads_children_and_half_lines_do_not_break_entries(printed: Stdout) -> None:
    """A progress bar never ends its line, and a child process prints to the same pipe."""
    sessions = {f"{n:032x}": channel(f"{n:032x}") for n in range(4)}

    def write(session: str, thread: int) -> None:
        for n in range(30):
            os.write(printed.descriptor, b"progress 10%")
            sessions[session].write_message(log_line(f"{thread} {n} {'x' * 5000}"))

    child = subprocess.Popen(
        [sys.executable, "-c", "import os\nfor _ in range(3000): os.write(1, b'downloading ')"],
        stdout=printed.descriptor,
    )
    threads = [Thread(target=write, args=(session, n)) for session in sessions for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.wait() == 0
    entries = printed()
    for session, shared in sessions.items():
        found = texts(entries, session)
        for n in range(3):
            assert [text.split()[1] for text in found if text.startswith(f"{n} ")] == [str(i) for i in range(30)]
        own = [entry for entry in entries if entry["jsonPayload"]["dagster_pipes"]["session"] == session]
        assert shared.chunk_count == len(own)


def test_a_heartbeat_is_printed_when_nothing_else_is(printed: Stdout) -> None:
    alive = channel(heartbeat_interval=0.05)
    alive.write_message(make_message("opened", {}))
    wait_until(lambda: alive.chunk_count >= 3)
    alive.write_message(make_message("closed", {}))
    count = alive.chunk_count
    alive.close()
    wait_until(lambda: f"pipes {SESSION}" not in {thread.name for thread in threads_now()})
    entries = printed()
    assert (alive.chunk_count, len(entries)) == (count, count)
    assert [message["method"] for message in messages(entries)] == ["opened", "closed"]
    assert {entry["jsonPayload"]["dagster_pipes"]["data"] for entry in entries[1:-1]} == {"\n"}


def test_closed_seals_the_channel(printed: Stdout) -> None:
    sealed = channel()
    sealed.write_message(make_message("closed", {"exception": {"message": "no", "stack": [], "name": "ValueError"}}))
    for method in ("log", "closed", "log_external_stream"):
        with pytest.raises(DagsterPipesError, match="after pipes context is closed"):
            sealed.write_message(make_message(method, {"message": "late", "level": "INFO"}))
    (entry,) = printed()
    assert (entry["severity"], sealed.chunk_count) == ("ERROR", 1)


def test_a_call_without_time_left_is_told_so_but_can_say_how_it_ended(printed: Stdout) -> None:
    late = LoggingChannel(SESSION, CallDeadline(10, arrived=time.monotonic() - 60))
    late.write_message(make_message("opened", {}))
    with pytest.raises(PipesDeadlineExceededError):
        late.write_message(log_line("more"))
    late.write_message(make_message("closed", {}))
    late.close()
    assert [message["method"] for message in messages(printed())] == ["opened", "closed"]


def test_a_forked_child_prints_no_messages(printed: Stdout) -> None:
    shared = channel()
    shared.write_message(make_message("opened", {}))
    if not (child := os.fork()):
        try:
            shared.write_message(make_message("closed", {}))
            shared.write_message(log_line("from the child"))
        except DagsterPipesError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    shared.write_message(make_message("closed", {}))
    shared.close()
    assert [message["method"] for message in messages(printed())] == ["opened", "closed"]


def test_a_closed_stdout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr("gcf_pipes._logging_channel.STDOUT", writing)
    with pytest.raises(PipesMessagesNotStoredError, match="after entry 0 of session 0123"):
        channel().write_message(log_line("nobody reads this"))
    os.close(writing)


def test_entries_have_the_trace_and_the_execution_of_the_request(printed: Stdout) -> None:
    platform = Platform(project_id=PROJECT)
    execution = Execution(platform, Trace("a" * 32, "b" * 16, sampled=True), "exec1", cold_start=False)
    with flask.Flask("function").test_request_context():
        label_request_logs(execution)
        channel().write_message(log_line("traced"))
    (entry,) = printed()
    assert (entry["trace"], entry["labels"]) == (f"projects/{PROJECT}/traces/{'a' * 32}", {"execution_id": "exec1"})


@pytest.mark.parametrize("session", [None, "", "x" * 32, "0" * 31, "0" * 33, "A" * 32, f"{'0' * 32}\n", 7])
def test_params_without_a_session_are_refused(session: object) -> None:
    with pytest.raises(PipesRequestError, match="'session' in the messages params"):
        PipesCloudLoggingMessageWriter().open_channel({"session": session}, CallDeadline())


def test_partitions_are_reported_only_if_the_reader_takes_them() -> None:
    params = {"session": SESSION, "partition_materializations": True}
    assert PipesCloudLoggingMessageWriter().open_channel(params, CallDeadline()).reported_partitions == {}
    assert channel().reported_partitions is None
    assert math.isclose(channel().heartbeat_interval, 20)
    assert (channel().cancelled, channel().response_room) == (False, None)


def test_output_that_nobody_forwards_is_warned_of() -> None:
    params = {"channel": "logging", "session": "0" * 32, "include_stdio_in_messages": True}
    with (
        pytest.warns(DagsterPipesWarning, match="`include_stdio_in_messages` needs `gcf_pipes.pipes_function`"),
        PipesCloudLoggingMessageWriter().open(params),
    ):
        pass
