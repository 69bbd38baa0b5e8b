"""The logs of a function on Cloud Run: JSON lines with the trace and the labels of their own request."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import requests
from gcf_pipes._shared.protocol import VERSION
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.metadata_server import run_metadata_server
from tests.sessions import call, stored_sessions

PROJECT = "functions-project"
INSTANCE = "00f8b34f"
SPAN = "00f067aa0ba902b7"
LABELS = "logging.googleapis.com/labels"
TRACE = "logging.googleapis.com/trace"

Entries = Callable[[], list[dict[str, Any]]]


@pytest.fixture(scope="module", params=[{}, {"LOG_EXECUTION_ID": "true"}], ids=["plain", "with execution ids"])
def deployed(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[FunctionServer]:
    """The function as Cloud Run would start it."""
    with run_metadata_server({"instance/id": INSTANCE, "project/project-id": PROJECT}) as metadata_host:
        platform = {"K_SERVICE": "orders", "K_REVISION": "orders-00007-abc", "GCE_METADATA_HOST": metadata_host}
        env = {**platform, **request.param}
        source = FUNCTIONS / "printing" / "main.py"
        with run_function(source, emulator_url=emulator.url, threads=8, env=env) as server:
            yield server


@pytest.fixture
def entries(deployed: FunctionServer) -> Entries:
    """Returns the structured lines since the test began; a last call logs a mark to wait for."""
    start = len(deployed.child.lines)

    def read() -> list[dict[str, Any]]:
        mark = uuid.uuid4().hex
        requests.post(deployed.url, data=mark, headers={"Dagster-Pipes-Timeout": mark}, timeout=30)
        deployed.child.wait_for_output(mark)
        objects = [json.loads(line) for line in deployed.child.lines[start:] if line.startswith("{")]
        return [entry for entry in objects if mark not in entry["message"]]

    return read


def test_each_way_of_logging_gives_one_complete_entry(deployed: FunctionServer, bucket: str, entries: Entries) -> None:
    trace_id = uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace_id}-{SPAN}-01", "Function-Execution-Id": "execution1"}
    response = call(
        deployed.url,
        bucket,
        {"mode": "logs", "tag": "tag"},
        headers=headers,
        run_id="run-1",
        job_name="nightly",
        asset_keys=["orders"],
        partition_key="2026-11-21",
        partition_key_range={"start": "2026-11-21", "end": "2026-11-21"},
    )
    assert response.json() == {"traceparent": f"00-{trace_id}-{SPAN}-01"}
    logged = [entry for entry in entries() if "tag" in entry["message"]]
    levels = {"root": "WARNING", "library": "ERROR", "pipes": "INFO", "exception": "ERROR", "json": "ERROR"}
    assert [(entry["severity"], re.findall(r"tag (\w+)", entry["message"])[0]) for entry in logged] == [
        (severity, way) for way, severity in levels.items()
    ]
    for entry in logged:
        assert entry[TRACE] == f"projects/{PROJECT}/traces/{trace_id}"
        assert entry[LABELS] == {
            "execution_id": "execution1",
            "dagster_run_id": "run-1",
            "dagster_job": "nightly",
            "dagster_asset": "orders",
            "dagster_partition": "2026-11-21",
        }


def test_an_exception_is_one_entry_with_its_traceback(deployed: FunctionServer, bucket: str, entries: Entries) -> None:
    call(deployed.url, bucket, {"mode": "logs", "tag": "tag"}, run_id="run-2").raise_for_status()
    (entry,) = [entry for entry in entries() if "tag exception" in entry["message"]]
    assert "\nTraceback (most recent call last):\n" in entry["message"]
    assert entry["message"].endswith("KeyError: 'nothing'")


def test_an_uncaught_exception_is_one_entry_of_the_run(deployed: FunctionServer, bucket: str, entries: Entries) -> None:
    assert call(deployed.url, bucket, {"mode": "raises"}, run_id="run-3").status_code == 500
    (entry,) = [entry for entry in entries() if "the table is broken" in entry["message"]]
    assert entry["severity"] == "ERROR"
    assert entry["message"].endswith("\nValueError: the table is broken")
    assert entry[LABELS]["dagster_run_id"] == "run-3"


def test_the_fields_of_a_json_message_are_kept(deployed: FunctionServer, bucket: str, entries: Entries) -> None:
    """`basicConfig` puts its prefix before the message: where it has no effect, the message is the object itself."""
    call(deployed.url, bucket, {"mode": "logs", "tag": "tag"}, run_id="run-4").raise_for_status()
    (entry,) = [entry for entry in entries() if "tag json" in entry["message"]]
    assert entry["severity"] == "ERROR"
    assert entry[LABELS]["dagster_run_id"] == "run-4"
    assert entry.get("rows") == 3 or '"rows": 3' in entry["message"]


def test_a_logged_text_cannot_forge_special_fields(emulator: Emulator, bucket: str) -> None:
    """Otherwise a caller could put a text into another run's log, or hide it."""
    labels = {"dagster_run_id": "forged", "dagster_partition": "forged", "execution_id": "forged", "user": "kept"}
    forged = ("trace", "insertId", "operation", "spanId", "trace_sampled", "split", "some_later_field")
    special = {
        **{f"logging.googleapis.com/{name}": "forged" for name in forged},
        **dict.fromkeys(("time", "timestampSeconds", "timestampNanos", "severity"), 1),
        "timestamp": {"seconds": 1, "nanos": 1},
    }
    harmless = {"rows": 3, "httpRequest": {"status": 500}, "logging.googleapis.com/sourceLocation": {"line": "7"}}
    text = json.dumps({**special, **harmless, "message": "a text", LABELS: labels})
    env = {"K_SERVICE": "orders", "GCE_METADATA_HOST": "127.0.0.1:9", "GOOGLE_CLOUD_PROJECT": PROJECT}
    trace_id = uuid.uuid4().hex
    with run_function(FUNCTIONS / "endings" / "main.py", emulator_url=emulator.url, env=env) as function:
        for headers in ({"traceparent": f"00-{trace_id}-{SPAN}-01", "Function-Execution-Id": "mine"}, {}):
            event = {"mode": "logs_json", "text": text}
            call(function.url, bucket, event, headers=headers, run_id="run-7").raise_for_status()
        function.child.wait_for_output("a text")
        lines = [json.loads(line) for line in function.child.lines if line.startswith("{")]
    first, second = (line for line in lines if line["message"] == "a text")
    assert first == {
        **harmless,
        "message": "a text",
        "severity": "ERROR",
        TRACE: f"projects/{PROJECT}/traces/{trace_id}",
        LABELS: {"dagster_run_id": "run-7", "execution_id": "mine", "user": "kept"},
    }
    assert {*second} == {*harmless, "message", "severity", LABELS}
    assert (second[LABELS]["dagster_run_id"], second[LABELS].get("dagster_partition")) == ("run-7", None)


def test_a_range_of_partitions_and_several_assets_are_labels_too(
    deployed: FunctionServer, bucket: str, entries: Entries
) -> None:
    call(
        deployed.url,
        bucket,
        {"mode": "logs", "tag": "tag"},
        asset_keys=["orders", "raw/customers"],
        partition_key_range={"start": "2026-01", "end": "2026-03"},
    ).raise_for_status()
    labels = [entry[LABELS] for entry in entries() if "tag" in entry["message"]]
    assert {label["dagster_partition"] for label in labels} == {"2026-01...2026-03"}
    assert {label["dagster_asset"] for label in labels} == {"orders,raw/customers"}


def test_concurrent_requests_have_their_own_trace_and_labels(
    deployed: FunctionServer, bucket: str, entries: Entries
) -> None:
    together = Barrier(8)
    traces = {f"tag{number}": uuid.uuid4().hex for number in range(8)}

    def call_one(tag: str) -> None:
        together.wait()
        headers = {"X-Cloud-Trace-Context": f"{traces[tag]}/7;o=1", "Function-Execution-Id": f"execution-{tag}"}
        event = {"mode": "logs", "tag": tag, "count": 50}
        response = call(deployed.url, bucket, event, headers=headers, run_id=f"run-{tag}")
        assert response.json() == {"traceparent": f"00-{traces[tag]}-0000000000000007-01"}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call_one, traces))
    logged = entries()
    for tag, trace_id in traces.items():
        own = [entry for entry in logged if f"{tag} " in entry["message"]]
        assert len(own) == 3 * 50 + 2
        assert {entry[TRACE] for entry in own} == {f"projects/{PROJECT}/traces/{trace_id}"}
        labels = {tuple(sorted(entry[LABELS].items())) for entry in own}
        assert labels == {(("dagster_run_id", f"run-{tag}"), ("execution_id", f"execution-{tag}"))}


def test_a_refused_call_is_an_entry_of_its_trace(deployed: FunctionServer, entries: Entries) -> None:
    trace_id = uuid.uuid4().hex
    requests.post(deployed.url, json={}, headers={"traceparent": f"00-{trace_id}-{SPAN}-01"}, timeout=30)
    (entry,) = [entry for entry in entries() if "call refused: bad_request" in entry["message"]]
    assert (entry["severity"], entry[TRACE]) == ("ERROR", f"projects/{PROJECT}/traces/{trace_id}")


def test_what_pipes_log_prints_is_not_forwarded_a_second_time(
    deployed: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    call(deployed.url, bucket, {"mode": "logs", "tag": "tag"}, include_stdio=True).raise_for_status()
    (messages,) = stored_sessions(storage_client, bucket).values()
    logs = [message["params"]["message"] for message in messages if message["method"] == "log"]
    texts = [message["params"]["text"] for message in messages if message["method"] == "log_external_stream"]
    assert logs == ["tag pipes 0"]
    assert not any("tag pipes 0" in text for text in texts)
    assert sum("tag root 0" in text for text in texts) == 1


def test_opened_tells_of_the_execution(deployed: FunctionServer, bucket: str, storage_client: storage.Client) -> None:
    trace_id = uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace_id}-{SPAN}-01", "Function-Execution-Id": "execution5"}
    call(deployed.url, bucket, {"mode": "prints", "text": "", "count": 0}, headers=headers).raise_for_status()
    (messages,) = stored_sessions(storage_client, bucket).values()
    extras = messages[0]["params"]["extras"]
    assert len(extras.pop("delivery_id")) == 32
    assert isinstance(extras.pop("cold_start"), bool)
    assert extras == {
        "project_id": PROJECT,
        "service": "orders",
        "revision": "orders-00007-abc",
        "instance_id": INSTANCE,
        "execution_id": "execution5",
        "trace_id": trace_id,
        "closes_with_request": True,
        "heartbeat_interval": 10.0,
        "protocol": "1 forward_logs logging_messages response_messages shared_cancel",
        "version": VERSION,
    }


def test_structured_logs_need_no_logging_setup(emulator: Emulator, bucket: str) -> None:
    """Python's handler of last resort prints what the runtime logs, and Flask's own what the function raises."""
    env = {"K_SERVICE": "orders", "GCE_METADATA_HOST": "127.0.0.1:9", "GOOGLE_CLOUD_PROJECT": PROJECT}
    trace_id = uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace_id}-{SPAN}-01"}
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=emulator.url, env=env) as function:
        requests.post(function.url, json={}, headers=headers, timeout=30)
        call(function.url, bucket, {"mode": "raises"}, headers=headers, run_id="run-6")
        function.child.wait_for_output("the table is broken")
        lines = [line for line in function.child.lines if line.startswith("{")]
    refused, about_to_raise, raised = (json.loads(line) for line in lines)
    assert refused["message"].startswith("[pipes] call refused: bad_request")
    assert about_to_raise["message"] == "about to raise"
    assert raised["message"].endswith("\nValueError: the table is broken")
    assert {entry[TRACE] for entry in (refused, about_to_raise, raised)} == {f"projects/{PROJECT}/traces/{trace_id}"}
    assert [entry[LABELS].get("dagster_run_id") for entry in (refused, about_to_raise, raised)] == [
        None,
        "run-6",
        "run-6",
    ]


def test_elsewhere_lines_stay_as_they_are(emulator: Emulator, bucket: str, storage_client: storage.Client) -> None:
    with run_function(FUNCTIONS / "printing" / "main.py", emulator_url=emulator.url) as function:
        for _ in range(2):
            assert call(function.url, bucket, {"mode": "logs", "tag": "tag"}).json() == {"traceparent": None}
        function.child.wait_for_output("WARNING:root:tag root 0")
        assert "{" not in function.child.output.replace('{"message": "tag json", "rows": 3}', "")
        assert "tag pipes 0" not in function.child.output
    opened = [messages[0]["params"]["extras"] for messages in stored_sessions(storage_client, bucket).values()]
    assert sorted(extras["cold_start"] for extras in opened) == [False, True]
    assert {name for extras in opened for name in extras} == {
        "delivery_id",
        "execution_id",
        "cold_start",
        "closes_with_request",
        "heartbeat_interval",
        "protocol",
        "version",
    }
