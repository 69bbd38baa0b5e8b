"""The messages of functions arrive through Cloud Logging, whatever it answers, when, and how often."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._encoding import make_message
from gcf_pipes._logging_channel import LoggingChannel

from dagster_gcf_pipes._messages.entry_api import MAX_PAGE
from dagster_gcf_pipes._messages.entry_session import EntrySession
from dagster_gcf_pipes._messages.record import describe_missing
from tests.google.functions_api import permission_denied, quota_exceeded, service_disabled, unavailable
from tests.google.logging_api import HOST, reset
from tests.google.logging_cloud import (
    PROJECT,
    READ_INTERVAL,
    Handler,
    LoggingCloud,
    log_line,
    logging_cloud,
    new_session,
    opened,
    run_function,
)
from tests.waiting import in_background, wait_until

if TYPE_CHECKING:
    from dagster import PipesMessageHandler

MODULES = "dagster_gcf_pipes._messages"
VIEW = f"projects/{PROJECT}/locations/global/buckets/_Default/views/functions"


@pytest.fixture
def cloud() -> Iterator[LoggingCloud]:
    with logging_cloud(tails=False) as cloud:
        yield cloud


@pytest.fixture
def live_cloud() -> Iterator[LoggingCloud]:
    with logging_cloud() as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not any(thread.name.startswith("pipes") for thread in threading.enumerate()))


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_session.INGESTION_TIMEOUT", 1.0)


def reading(session: EntrySession, handler: Handler) -> Any:
    return session.read_messages(cast("PipesMessageHandler", handler))


def read_call(
    cloud: LoggingCloud, lines: int = 0, *, size: int = 0, view: str | None = None, token: str = "", **options: Any
) -> tuple[EntrySession, Handler]:
    """Call a function and read its messages to their end.

    Args:
        cloud: The cloud.
        lines: How many lines it logs.
        size: The size of each.
        view: The log view.
        token: The reader's access token, if it is not a valid one.
        options: Those of the agent.
    """
    reader = cloud.reader(view=view, **({"token": token} if token else {}))
    session, handler = new_session(reader), Handler()
    with cloud.instance(**options), reading(session, handler) as params:
        assert params["session"] == session.id
        session.drain(run_function(session.id, lines, size=size), timeout=0)
    return session, handler


def assert_complete(session: EntrySession, handler: Handler, lines: int) -> None:
    record = session.record
    assert (record.failure, record.missing_chunks, record.closed) == (None, (), True)
    assert handler.methods[0] == "opened"
    assert handler.methods[-1] == "closed"
    assert [text.split()[0] for text in handler.texts] == [str(n) for n in range(lines)]


# ----------------------------------------------------------------------------------------------------- when, how often


def test_messages_arrive_in_order(cloud: LoggingCloud) -> None:
    session, handler = read_call(cloud, lines=20)
    assert_complete(session, handler, 20)
    assert session.record.chunk_count == 22


@pytest.mark.parametrize("seed", range(3))
def test_late_entries_out_of_order_and_twice(cloud: LoggingCloud, seed: int) -> None:
    session, handler = read_call(cloud, lines=300, delay=(0.0, 1.5), duplicates=0.3, seed=seed)
    assert_complete(session, handler, 300)


def test_a_message_of_many_entries_is_joined(cloud: LoggingCloud) -> None:
    session, handler = read_call(cloud, lines=3, size=400_000, delay=(0.0, 0.5))
    assert_complete(session, handler, 3)
    assert [len(text) for text in handler.texts] == [400_002] * 3
    assert session.record.chunk_count > 600


def test_any_text_arrives_as_it_was_sent(cloud: LoggingCloud) -> None:
    session, handler = new_session(cloud.reader()), Handler()
    texts = ["ä€😀" * 3000, '"\\' * 5000, "\x00\x1f\u2028", "", "\ud800", '{"severity": "ERROR"}']
    with cloud.instance(), reading(session, handler):
        channel = LoggingChannel(session.id, CallDeadline())
        channel.write_message(opened())
        for text in texts:
            channel.write_message(log_line(text))
        channel.write_message(make_message("closed", {}))
        channel.close()
        session.drain(channel.chunk_count, timeout=0)
    assert handler.texts == texts


@pytest.mark.parametrize("page", [1, 7])
def test_entries_of_many_pages(cloud: LoggingCloud, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_reader.MAX_PAGE", page)
    session, handler = read_call(cloud, lines=20, delay=(0.0, 0.3))
    assert_complete(session, handler, 20)
    assert any("pageToken" in query for query in cloud.api.asked)


def test_a_page_that_is_too_large_is_asked_for_in_parts(cloud: LoggingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_api.MAX_PAGE_BYTES", 60_000)
    session, handler = read_call(cloud, lines=40, size=3000)
    assert_complete(session, handler, 40)
    assert cloud.api.asked[0]["pageSize"] == MAX_PAGE
    assert cloud.api.asked[-1]["pageSize"] < MAX_PAGE


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_a_reader_that_is_slower_than_the_function_keeps_little(
    cloud: LoggingCloud, late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_session.MAX_WAITING_BYTES", 10_000)
    handling = threading.Event()

    class Slow(Handler):
        def handle_message(self, message: Any) -> None:
            handling.wait(30)
            super().handle_message(message)

    session, handler = new_session(cloud.reader()), Slow()
    with cloud.instance(delay=(0.0, late)), reading(session, handler):
        count = run_function(session.id, 100, size=500)
        session.end_writing(count, timeout=0)
        wait_until(lambda: not session.term)  # it asks for nothing more
        assert session._sequence._bytes < 20_000  # noqa: SLF001 - the memory that it uses
        handling.set()
        assert session.wait_until(lambda: session.ended, 30)
    assert_complete(session, handler, 100)


# ----------------------------------------------------------------------------------------------------- what it answers


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize(
    "fault", [unavailable(), (500, "Internal"), (200, "<html>no JSON</html>"), (200, ["no page"]), reset]
)
def test_a_transient_fault_costs_only_time(
    cloud: LoggingCloud, fault: Any, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_reader.RETRY_DELAY", 0.05)
    cloud.api.faults.extend([fault] * times)
    session, handler = read_call(cloud, lines=5)
    assert_complete(session, handler, 5)
    assert not cloud.api.faults


def test_a_read_that_stalls_is_made_again(cloud: LoggingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_api.READ_TIMEOUT", 0.3)
    over = threading.Event()

    def stall() -> tuple[Any, int]:
        over.wait(30)
        return {}, 200

    cloud.api.faults.append(stall)
    session, handler = read_call(cloud, lines=5)
    assert_complete(session, handler, 5)
    over.set()


def test_a_pause_follows_a_refusal_by_the_quota(cloud: LoggingCloud) -> None:
    cloud.api.faults.extend([quota_exceeded(HOST)] * 3)
    session, handler = read_call(cloud, lines=5)
    assert_complete(session, handler, 5)


@pytest.mark.parametrize(
    ("fault", "view", "expected"),
    [
        (permission_denied("logging.logEntries.list", PROJECT), None, "`roles/logging.viewer` in the project"),
        (permission_denied("logging.views.access", VIEW), VIEW, f"`roles/logging.viewAccessor` on the log view {VIEW}"),
        (service_disabled("Cloud Logging API", HOST), None, f"enable {HOST} --project={PROJECT}"),
        ((404, {"error": {"message": "View not found."}}), VIEW, f'{VIEW} in Cloud Logging: 404. Google says: "View'),
    ],
)
def test_a_missing_permission_fails_the_call_at_once(
    cloud: LoggingCloud, fault: tuple[int, Any], view: str | None, expected: str
) -> None:
    cloud.api.faults.append(fault)
    session, _ = read_call(cloud, lines=5, view=view)
    assert expected in str(session.record.failure)
    assert len(cloud.api.asked) == 1


def test_an_invalid_token_fails_the_call(cloud: LoggingCloud) -> None:
    session, _ = read_call(cloud, token="expired")
    assert "do not contain the necessary fields" in str(session.record.failure)


def test_a_view_is_read(cloud: LoggingCloud) -> None:
    cloud.api.entries[VIEW.removeprefix("projects/")] = cloud.api.entries.setdefault(PROJECT, [])
    session, handler = read_call(cloud, lines=5, view=VIEW)
    assert_complete(session, handler, 5)
    assert {query["resourceNames"][0] for query in cloud.api.asked} == {VIEW}


def test_a_lasting_outage_fails_the_call(cloud: LoggingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_session.MIN_DRAIN_DEADLINE", 1.0)
    monkeypatch.setattr(f"{MODULES}.entry_reader.RETRY_DELAY", 0.05)
    cloud.api.faults.extend([unavailable()] * 100)
    session, _ = read_call(cloud, lines=5)
    assert "503" in str(session.record.failure)
    assert session.silent_for == 0


# ------------------------------------------------------------------------------------------------------------- the end


@pytest.mark.usefixtures("short_wait")
def test_an_entry_that_never_arrives_is_missing(cloud: LoggingCloud) -> None:
    session, handler = read_call(cloud, lines=10, lost={5})
    assert (session.record.missing_chunks, session.record.closed) == ((5,), False)
    assert handler.texts == ["0", "1", "2"]
    assert describe_missing((5,), session.record) == f"log entry 5 is not in Cloud Logging (projects/{PROJECT})"


@pytest.mark.usefixtures("short_wait")
def test_all_entries_may_be_missing(cloud: LoggingCloud) -> None:
    session, _ = read_call(cloud, lines=1, lost=range(100))
    assert (session.record.missing_chunks, session.record.opened) == ((1, 2, 3), False)


def test_a_function_that_died_has_sent_what_it_printed(cloud: LoggingCloud) -> None:
    session, handler = new_session(cloud.reader()), Handler()
    with cloud.instance(delay=(0.1, 0.5)), reading(session, handler):
        run_function(session.id, 5, closes=False)
        session.drain(None, timeout=1.0)
    record = session.record
    assert (record.closed, record.missing_chunks, record.failure) == (False, (), None)
    assert handler.texts == ["0", "1", "2", "3", "4"]


def test_a_function_that_printed_nothing(cloud: LoggingCloud) -> None:
    session = new_session(cloud.reader())
    with reading(session, Handler()):
        session.drain(0, timeout=0)
    assert session.record.message_count == 0


@pytest.mark.parametrize("consumed", [True, False])
def test_two_deliveries_of_a_call_are_found_out(cloud: LoggingCloud, consumed: bool) -> None:
    """Whether the second one runs after the first one was read, or at the same time."""
    session, handler = new_session(cloud.reader()), Handler()
    with cloud.instance(), reading(session, handler):
        run_function(session.id, 3, closes=False)
        if consumed:
            session.wait_until(lambda: session.record.chunk_count == 4, 30)
        count = run_function(session.id, 3)
        session.drain(count, timeout=0)
    assert "got those of two: deliveries" in str(session.record.failure)
    assert "use `messages='bucket'`" in str(session.record.failure)


def test_a_second_delivery_that_got_less_far_is_found_out(cloud: LoggingCloud) -> None:
    """None of its numbers is new."""
    session, handler = new_session(cloud.reader()), Handler()
    with cloud.instance(), reading(session, handler):
        run_function(session.id, 3, closes=False)
        session.wait_until(lambda: session.record.chunk_count == 4, 30)
        run_function(session.id, 1, closes=False)
        session.drain(None, timeout=1.0)
    assert "got those of two: deliveries" in str(session.record.failure)


def test_an_error_of_dagster_ends_the_reading(cloud: LoggingCloud) -> None:
    class Failing(Handler):
        def handle_message(self, message: Any) -> None:
            raise ZeroDivisionError("no")

    session = new_session(cloud.reader())
    with cloud.instance(), reading(session, Failing()):
        session.drain(run_function(session.id, 3), timeout=0)
    assert f"the log entries from 1 on of session {session.id}: no" in str(session.record.failure)


def test_nobody_waits_after_an_interruption(cloud: LoggingCloud) -> None:
    session = new_session(cloud.reader())
    with pytest.raises(KeyboardInterrupt), reading(session, Handler()):
        raise KeyboardInterrupt
    assert session.ended


def test_entries_of_others_are_ignored(cloud: LoggingCloud) -> None:
    """Whoever can write to the log may write anything."""
    session, handler = new_session(cloud.reader()), Handler()
    odd: list[Any] = [None, 7, {}, {"session": session.id, "n": "x", "data": ""}]
    odd += [{"session": session.id, "n": n, "data": "\n"} for n in (0, -1, 1.5, 1e300, True, None)]
    odd += [{"session": session.id, "n": 2, "data": 7}, {"session": [session.id], "n": 2, "data": ""}]
    with cloud.instance(), reading(session, handler):
        count = run_function(session.id, 3)
        wait_until(lambda: len(cloud.api.entries.get(PROJECT, [])) >= count)
        entry = next(entry for entry in cloud.api.entries[PROJECT] if "jsonPayload" in entry)
        for n, fields in enumerate(odd):
            cloud.api.write(PROJECT, {**entry, "insertId": f"odd{n}", "jsonPayload": {"dagster_pipes": fields}})
        session.drain(count, timeout=0)
    assert_complete(session, handler, 3)


# ------------------------------------------------------------------------------------------------------- many, silence


def test_twenty_sessions_share_the_reads_of_a_project(cloud: LoggingCloud) -> None:
    readers = [cloud.reader() for _ in range(4)]  # of four steps, say
    sessions = [(new_session(readers[n % 4]), Handler()) for n in range(20)]
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(cloud.instance(delay=(0.0, 0.5)))
        for session, handler in sessions:
            stack.enter_context(reading(session, handler))
        calls = [in_background(partial(run_function, session.id, 10)) for session, _ in sessions]
        for (session, _), call in zip(sessions, calls, strict=True):
            session.drain(call.result(30), timeout=0)
    for session, handler in sessions:
        assert_complete(session, handler, 10)
    assert len(cloud.api.asked) <= (time.monotonic() - started) / READ_INTERVAL + 1
    assert cloud.api.refused == 0


def test_a_filter_names_a_hundred_sessions(cloud: LoggingCloud) -> None:
    reader = cloud.reader()
    sessions = [(new_session(reader), Handler()) for _ in range(120)]
    with ExitStack() as stack:
        stack.enter_context(cloud.instance())
        for session, handler in sessions:
            stack.enter_context(reading(session, handler))
        counts = [run_function(session.id, 1) for session, _ in sessions]
        for (session, _), count in zip(sessions, counts, strict=True):
            session.drain(count, timeout=0)
    for session, handler in sessions:
        assert_complete(session, handler, 1)
    assert 10_000 < max(len(query["filter"]) for query in cloud.api.asked) < 20_000


def test_silence_counts_from_the_last_entry(cloud: LoggingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_session.INGESTION_ALLOWANCE", 0.3)
    session, handler = new_session(cloud.reader()), Handler()
    with cloud.instance(), reading(session, handler):
        channel = LoggingChannel(session.id, CallDeadline(), heartbeat_interval=0.1)
        channel.write_message(opened(0.1))
        wait_until(lambda: session.record.chunk_count > 10)
        assert not session.give_up_if_silent()
        channel.close()
        wait_until(session.give_up_if_silent)
    assert session.record.silent_for > 0.3


# -------------------------------------------------------------------------------------------------------- live tailing


def is_live(session: EntrySession) -> bool:
    tailer = session._reader._tailer  # noqa: SLF001 - nothing else shows which way an entry came
    return tailer is not None and tailer.is_live


def read_live_call(
    cloud: LoggingCloud, lines: int, *, tail_of: Callable[[], bool] | None = None, **options: Any
) -> Any:
    """Call a function once the log is followed, and read its messages to their end."""
    session, handler = new_session(cloud.reader()), Handler()
    with cloud.instance(**options), reading(session, handler):
        wait_until(tail_of or (lambda: cloud.tail.streams == 1))
        session.drain(run_function(session.id, lines), timeout=0)
    return session, handler


def test_entries_arrive_live_without_lists(live_cloud: LoggingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_reader.READ_INTERVAL", 100.0)
    monkeypatch.setattr(f"{MODULES}.entry_reader.LIVE_INTERVAL", 100.0)
    session, handler = new_session(live_cloud.reader()), Handler()
    with live_cloud.instance(), reading(session, handler):
        wait_until(lambda: live_cloud.tail.streams == 1 and len(live_cloud.api.asked) == 1)
        run_function(session.id, 10)
        assert session.wait_until(lambda: session.ended, 30)
    assert_complete(session, handler, 10)
    assert len(live_cloud.api.asked) == 1


@pytest.mark.parametrize("seed", range(2))
def test_lists_and_the_tail_meet_in_one_sequence(live_cloud: LoggingCloud, seed: int) -> None:
    session, handler = read_live_call(live_cloud, 200, delay=(0.0, 1.0), duplicates=0.5, seed=seed)
    assert_complete(session, handler, 200)


@pytest.mark.parametrize("ending", [grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED])
def test_a_tail_that_ends_is_followed_again(
    live_cloud: LoggingCloud, ending: grpc.StatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULES}.entry_reader.TAIL_RETRY_DELAY", 0.05)
    live_cloud.tail.ends_after, live_cloud.tail.ending = 5, ending
    session, handler = read_live_call(live_cloud, 50, delay=(0.0, 1.0))
    assert_complete(session, handler, 50)
    assert live_cloud.tail.opened > 1


def test_lists_find_what_the_tail_leaves_out(live_cloud: LoggingCloud) -> None:
    live_cloud.tail.suppressed = lambda entry: "7" in entry.get("jsonPayload", {}).get("message", "")
    session, handler = read_live_call(live_cloud, 50)
    assert_complete(session, handler, 50)


@pytest.mark.parametrize(
    "refusal",
    [
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
    ],
)
def test_lists_are_enough_if_the_tail_is_refused(live_cloud: LoggingCloud, refusal: grpc.StatusCode) -> None:
    live_cloud.tail.refusal = refusal
    session, handler = read_live_call(live_cloud, 20, tail_of=lambda: live_cloud.tail.opened == 1, delay=(0.0, 0.3))
    assert_complete(session, handler, 20)
    assert live_cloud.tail.opened == 1


def test_lists_are_enough_without_the_library(live_cloud: LoggingCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.logging_v2.types", None)
    session, handler = read_live_call(live_cloud, 20, tail_of=lambda: True)
    assert_complete(session, handler, 20)
    assert live_cloud.tail.opened == 0


def test_lists_are_enough_if_the_project_has_all_its_streams(live_cloud: LoggingCloud) -> None:
    readers = [live_cloud.reader() for _ in range(11)]
    sessions = [(new_session(reader), Handler()) for reader in readers]
    with ExitStack() as stack:
        stack.enter_context(live_cloud.instance())
        for session, handler in sessions:
            stack.enter_context(reading(session, handler))
        wait_until(lambda: live_cloud.tail.opened >= 11)
        counts = [run_function(session.id, 3) for session, _ in sessions]
        for (session, _), count in zip(sessions, counts, strict=True):
            session.drain(count, timeout=0)
    for session, handler in sessions:
        assert_complete(session, handler, 3)


def test_one_stream_follows_the_sessions_to_come(live_cloud: LoggingCloud) -> None:
    reader = live_cloud.reader()
    first, second = new_session(reader), new_session(reader)
    with live_cloud.instance(), reading(first, Handler()):
        wait_until(lambda: live_cloud.tail.streams == 1)
        run_function(first.id, 1, closes=False)
        wait_until(lambda: is_live(first))
        handler = Handler()
        with reading(second, handler):
            second.drain(run_function(second.id, 5), timeout=0)
    assert_complete(second, handler, 5)
    assert live_cloud.tail.opened == 1
