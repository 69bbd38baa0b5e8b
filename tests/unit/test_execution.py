"""The facts about a process's platform and its requests."""

import socket
import time

import pytest
from gcf_pipes._execution import Platform, Process, read_metadata
from gcf_pipes._usage import Container

from tests.metadata_server import run_metadata_server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
VARIABLES = ("K_SERVICE", "K_REVISION", "GOOGLE_CLOUD_PROJECT", "GCE_METADATA_HOST")
FACTS = {
    "instance/id": "00f8b34f",
    "project/project-id": "functions-project",
    "instance/region": "projects/123456789012/regions/europe-west1",
}
SIZE = Container()


@pytest.fixture(autouse=True)
def _outside_google_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def on_cloud_run(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("K_SERVICE", "orders")
    monkeypatch.setenv("K_REVISION", "orders-00007-abc")
    return monkeypatch


def test_outside_cloud_run_no_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_metadata_server(FACTS) as host:
        monkeypatch.setenv("GCE_METADATA_HOST", host)
        assert Platform.load() == Platform()


def test_facts_come_from_variables_and_the_metadata_server(on_cloud_run: pytest.MonkeyPatch) -> None:
    on_cloud_run.setenv("GOOGLE_CLOUD_PROJECT", "data-project")
    with run_metadata_server(FACTS) as host:
        on_cloud_run.setenv("GCE_METADATA_HOST", host)
        assert Platform.load() == Platform(
            "orders", "orders-00007-abc", "functions-project", "00f8b34f", "europe-west1", SIZE.memory_limit, SIZE.cpus
        )


def test_the_project_of_the_variable_is_the_fallback(on_cloud_run: pytest.MonkeyPatch) -> None:
    on_cloud_run.setenv("GOOGLE_CLOUD_PROJECT", "data-project")
    with run_metadata_server({}) as host:
        on_cloud_run.setenv("GCE_METADATA_HOST", host)
        assert Platform.load() == Platform(
            "orders", "orders-00007-abc", "data-project", None, None, SIZE.memory_limit, SIZE.cpus
        )


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert read_metadata(["instance/id", "project/project-id"]) == [None, None]
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.0.0.1:none", "[::"])
def test_a_missing_server_returns_nothing(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    assert read_metadata(["instance/id"]) == [None]


def test_the_first_request_of_a_process_is_a_cold_start() -> None:
    process = Process()
    assert [process.describe_request({}).cold_start for _ in range(3)] == [True, False, False]


def test_opened_has_the_known_facts(on_cloud_run: pytest.MonkeyPatch) -> None:
    headers = {"Function-Execution-Id": "abcDEF123456", "X-Cloud-Trace-Context": f"{TRACE}/1;o=1"}
    with run_metadata_server(FACTS) as host:
        on_cloud_run.setenv("GCE_METADATA_HOST", host)
        size = {"memory_limit_bytes": SIZE.memory_limit, "cpus": SIZE.cpus}
        assert Process().describe_request(headers).opened_extras == {
            **{name: value for name, value in size.items() if value},
            "region": "europe-west1",
            "project_id": "functions-project",
            "service": "orders",
            "revision": "orders-00007-abc",
            "instance_id": "00f8b34f",
            "execution_id": "abcDEF123456",
            "trace_id": TRACE,
            "cold_start": True,
        }


@pytest.mark.parametrize("execution_id", ["", "a b", "x" * 65, "é", '"'])
def test_unknown_facts_are_left_out(execution_id: str) -> None:
    headers = {"Function-Execution-Id": execution_id}
    assert Process().describe_request(headers).opened_extras == {"cold_start": True}
