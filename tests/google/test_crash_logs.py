"""The last log entries of a crashed execution: google-cloud-logging's real client against a stand-in."""

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from dagster_gcf_pipes import PipesCloudFunctionError
from dagster_gcf_pipes._crash_logs import LogTail, fetch_log_tail
from dagster_gcf_pipes._log_query import LogScope
from dagster_gcf_pipes._logging_api import MAX_LINE_LENGTH, MAX_LINES
from tests.google import Network
from tests.google.conftest import BROKEN_CREDENTIALS
from tests.google.functions_api import TOKEN, permission_denied, quota_exceeded, service_disabled, unavailable
from tests.google.logging_api import HOST, LoggingApi

STARTED = datetime(2026, 3, 18, 16, 5, 0, tzinfo=timezone.utc)
TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER_TRACE = "1" * 32
EXECUTION = LogScope(
    STARTED, STARTED + timedelta(seconds=30), TRACE, "my-project", "orders", "aBc123", "orders-00007-xyz", "00a4"
)
STDOUT, SYSTEM, REQUESTS = (
    "run.googleapis.com%2Fstdout",
    "run.googleapis.com%2Fvarlog%2Fsystem",
    "run.googleapis.com%2Frequests",
)
OUT_OF_MEMORY = (
    "Memory limit of 256 MiB exceeded with 260 MiB used. Consider increasing the memory limit, see "
    "https://cloud.google.com/run/docs/configuring/memory-limits"
)
TIMED_OUT = (
    "The request has been terminated because it has reached the maximum request timeout. To change this limit, see "
    "https://cloud.google.com/run/docs/configuring/request-timeout"
)


@pytest.fixture
def api(network: Network) -> LoggingApi:
    api = LoggingApi()
    network.serve(HOST, api.app)
    return api


def entry(second: float, log: str = STDOUT, text: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return an entry of the revision that ran; the function's own entries have its trace."""
    return {
        "logName": f"projects/my-project/logs/{log}",
        "resource": {
            "type": "cloud_run_revision",
            "labels": {"service_name": "orders", "revision_name": "orders-00007-xyz", "location": "europe-west1"},
        },
        "timestamp": (STARTED + timedelta(seconds=second)).isoformat().replace("+00:00", "Z"),
        "labels": {"instanceId": "00a4"},
        "insertId": f"{second}",
        **({"textPayload": text} if text else {}),
        **({"trace": f"projects/my-project/traces/{TRACE}"} if log != SYSTEM else {}),
        **fields,
    }


def out_of_memory(second: float, **fields: Any) -> dict[str, Any]:
    return entry(second, SYSTEM, OUT_OF_MEMORY, severity="ERROR", **fields)


def credentials(token: str) -> Credentials:
    return Credentials(token=token)


def fetch(execution: LogScope = EXECUTION, timeout: float = 0, token: str = TOKEN) -> LogTail:
    return fetch_log_tail(execution, lambda: credentials(token), timeout=timeout)


def texts(tail: LogTail) -> list[str]:
    return [line.text for line in tail.lines]


def test_finds_entries_of_the_function_and_of_the_platform(api: LoggingApi) -> None:
    api.entries["my-project"] = [
        out_of_memory(3),
        entry(1, text="loading"),
        entry(2, jsonPayload={"message": "loaded", "rows": 3}, severity="INFO"),
        entry(3.5, SYSTEM, "Container terminated on signal 9.", severity="WARNING"),
    ]
    tail = fetch()
    assert str(tail) == (
        "2026-03-18T16:05:01.000Z DEFAULT loading\n"
        "2026-03-18T16:05:02.000Z INFO loaded\n"
        f"2026-03-18T16:05:03.000Z ERROR {OUT_OF_MEMORY}\n"
        "2026-03-18T16:05:03.500Z WARNING Container terminated on signal 9."
    )
    assert tail.hint is None
    assert [line.from_platform for line in tail.lines] == [False, False, True, True]


def test_finds_entries_with_the_execution_id_alone(api: LoggingApi) -> None:
    """As a plain `print` with LOG_EXECUTION_ID."""
    labelled = entry(1, text="printed", labels={"execution_id": "aBc123"})
    del labelled["trace"]
    api.entries["my-project"] = [labelled]
    assert texts(fetch()) == ["printed"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(entry(1, text="x", trace=f"projects/my-project/traces/{OTHER_TRACE}"), id="another execution"),
        pytest.param(out_of_memory(1, labels={"instanceId": "00b5"}), id="another instance"),
        pytest.param(entry(1, SYSTEM, "Starting new instance. Reason: AUTOSCALING", severity="INFO"), id="no warning"),
        pytest.param(out_of_memory(-120), id="before"),
        pytest.param(out_of_memory(120), id="after"),
        pytest.param(
            out_of_memory(
                1,
                resource={
                    "type": "cloud_run_revision",
                    "labels": {"service_name": "orders", "revision_name": "orders-00006-abc"},
                },
            ),
            id="another revision",
        ),
        pytest.param(
            out_of_memory(1, resource={"type": "cloud_run_revision", "labels": {"service_name": "customers"}}),
            id="another service",
        ),
    ],
)
def test_leaves_out_entries_of_others(api: LoggingApi, other: dict[str, Any]) -> None:
    api.entries["my-project"] = [other, entry(2, text="mine")]
    assert texts(fetch()) == ["mine"]


def test_reads_through_a_log_view(api: LoggingApi) -> None:
    view = "projects/my-project/locations/global/buckets/_Default/views/orders-dagster"
    api.entries[view.removeprefix("projects/")] = [out_of_memory(1)]
    tail = fetch_log_tail(EXECUTION, lambda: credentials(TOKEN), log_view=view, timeout=0)
    assert texts(tail) == [OUT_OF_MEMORY]
    assert api.asked[0]["resourceNames"] == [view]


def test_finds_entries_of_a_project_given_by_its_number(api: LoggingApi) -> None:
    api.entries["123456789012"] = [entry(1, text="mine"), entry(2, text="x", trace=f"projects/p/traces/{OTHER_TRACE}")]
    assert texts(fetch(LogScope(STARTED, STARTED, TRACE, "123456789012", "orders"))) == ["mine"]


# -------------------------------------------------------------------------------------------------------------- cause


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        pytest.param(
            [entry(3.5, SYSTEM, "Container terminated on signal 9.", severity="WARNING"), out_of_memory(3)],
            f'It ran out of memory. The log says: "{OUT_OF_MEMORY}"',
            id="out of memory",
        ),
        pytest.param(
            [entry(30, REQUESTS, TIMED_OUT, httpRequest={"status": 504, "latency": "29.999s"}, severity="ERROR")],
            f'It ran longer than its timeout. The log says: "HTTP 504 after 29.999s: {TIMED_OUT}"',
            id="timed out",
        ),
        pytest.param(
            [entry(3, SYSTEM, "Container called exit(1).", severity="WARNING")],
            'Its process died. The log says: "Container called exit(1)."',
            id="exit",
        ),
        pytest.param([entry(3, text=OUT_OF_MEMORY)], None, id="not logged by the platform"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_cause(api: LoggingApi, entries: list[dict[str, Any]], cause: str | None) -> None:
    api.entries["my-project"] = entries
    found = fetch().cause
    assert (found and found.text) == cause


# ------------------------------------------------------------------------------------------------------------- bounds


def test_keeps_the_latest_lines(api: LoggingApi) -> None:
    api.entries["my-project"] = [entry(n / 10, text=str(n)) for n in range(MAX_LINES * 3)]
    assert texts(fetch()) == [str(n) for n in range(MAX_LINES * 2, MAX_LINES * 3)]
    assert len(api.asked) == 1


def test_shortens_long_lines(api: LoggingApi) -> None:
    api.entries["my-project"] = [
        entry(1, text="x" * 200_000),
        entry(2, jsonPayload={"rows": list(range(10_000))}),
        entry(3, text="x" * MAX_LINE_LENGTH),
    ]
    cut, json, whole = texts(fetch())
    assert cut == "x" * (MAX_LINE_LENGTH - 3) + "..."
    assert json.startswith('{"rows": [0, 1, 2')
    assert len(json) == len(whole) == MAX_LINE_LENGTH


def test_waits_until_the_platform_has_logged_the_cause(api: LoggingApi) -> None:
    api.entries["my-project"] = [entry(1, text="mine"), out_of_memory(3, visible_at=2)]
    started = time.monotonic()
    assert texts(fetch(timeout=30)) == ["mine", OUT_OF_MEMORY]
    assert len(api.asked) == 3  # the first without it, the second with it, the third with nothing more
    assert time.monotonic() - started < 25


def test_waits_until_the_timeout(api: LoggingApi) -> None:
    api.entries["my-project"] = [entry(1, text="mine")]
    started = time.monotonic()
    assert texts(fetch(timeout=1.5)) == ["mine"]
    assert len(api.asked) == 2
    assert time.monotonic() - started < 20


def test_says_that_there_are_no_entries(api: LoggingApi) -> None:
    tail = fetch()
    assert (tail.lines, str(tail)) == ((), "The logs have no entries of this execution yet.")


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("fault", [unavailable(), quota_exceeded(HOST), (200, "<html>no JSON</html>")])
def test_a_transient_fault_is_retried(api: LoggingApi, fault: tuple[int, Any]) -> None:
    api.entries["my-project"] = [entry(1, text="mine")]
    api.faults.append(fault)
    assert texts(fetch(timeout=1.5)) == ["mine"]


def test_an_unreadable_entry_leaves_a_hint(api: LoggingApi) -> None:
    api.faults.extend([(200, {"entries": [{**entry(1, text="odd"), "timestamp": "yesterday"}]})] * 3)
    tail = fetch(timeout=0)
    assert tail.lines == ()
    assert "The function's last log entries could not be read: " in str(tail)


def test_a_lasting_fault_leaves_a_hint(api: LoggingApi) -> None:
    api.faults.extend([unavailable()] * 9)
    tail = fetch(timeout=1.5)
    assert tail.lines == ()
    assert "could not be read: 503 POST https://logging.googleapis.com/v2/entries:list" in str(tail.hint)


def test_an_api_that_does_not_respond_leaves_a_hint(api: LoggingApi) -> None:
    api.answering.clear()
    started = time.monotonic()
    assert "Read timed out. (read timeout=5.0)" in str(fetch(timeout=1).hint)
    assert time.monotonic() - started < 20
    api.answering.set()


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (
            permission_denied("logging.logEntries.list", "projects/my-project"),
            "Grant the identity in use `logging.logEntries.list`, for example through `roles/logging.viewer`.",
        ),
        (
            service_disabled("Cloud Logging API", HOST),
            "Enable the API: `gcloud services enable logging.googleapis.com --project=my-project`.",
        ),
    ],
)
def test_a_missing_permission_leaves_a_hint_at_once(api: LoggingApi, fault: tuple[int, Any], hint: str) -> None:
    api.faults.append(fault)
    tail = fetch(timeout=30)
    assert (tail.lines, len(api.asked)) == ((), 1)
    assert str(tail.hint).endswith(hint)


def raise_our_own_error() -> Credentials:
    raise PipesCloudFunctionError("No Google credentials were found.")


@pytest.mark.parametrize(
    ("get_credentials", "text"),
    [
        *BROKEN_CREDENTIALS,
        pytest.param(raise_our_own_error, "No Google credentials were found", id="not found by ourselves"),
    ],
)
def test_credentials_that_do_not_work_leave_a_hint_at_once(
    api: LoggingApi,
    get_credentials: Callable[[], Credentials | None],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/does/not/exist.json")
    started = time.monotonic()
    tail = fetch_log_tail(EXECUTION, get_credentials, timeout=30)
    assert tail.lines == ()
    assert time.monotonic() - started < 25
    assert text in str(tail.hint)


def test_an_unreachable_api_leaves_a_hint(network: Network) -> None:
    assert HOST in str(fetch().hint)
    assert set(network.routes.refused) == {(HOST, 443)}


def test_an_unknown_project_leaves_a_hint_without_a_request(network: Network) -> None:
    tail = fetch(LogScope(STARTED, STARTED, TRACE))
    assert tail == LogTail(hint="The function's logs were not read, because its URL does not contain its project.")
    assert network.routes.asked == []


def test_a_missing_extra_leaves_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.logging", None)
    assert str(fetch()) == (
        "The function's last log entries could not be read: google-cloud-logging is not installed.\n"
        "Fix: Install `dagster-gcf-pipes[logging]`."
    )
