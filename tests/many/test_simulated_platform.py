"""What the simulated platform adds to the function: its limits, its errors, its latencies, and its figures."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes.local import storage_client
from tests.many.figures import Figures, WireRequest
from tests.many.simulated_platform import SimulatedPlatform, run_simulated_platform
from tests.sessions import bootstrap, call, stored_sessions, summarize
from tests.waiting import in_background, wait_until


def statuses_of(platform: SimulatedPlatform, bucket: str, events: list[dict[str, object]]) -> list[int]:
    """Make calls at the same time; return their statuses."""
    with ThreadPoolExecutor(len(events)) as threads:
        calls = [threads.submit(call, platform.function_url, bucket, event) for event in events]
        return [call.result().status_code for call in calls]


def seconds_of(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def test_calls_at_once_are_counted_and_not_mixed() -> None:
    with run_simulated_platform() as platform:
        platform.create_bucket("messages")
        keys = [f"key {number}" for number in range(50)]
        statuses = statuses_of(platform, "messages", [{"key": key, "seconds": 4, "lines": 3} for key in keys])
        assert statuses == [200] * 50
        figures = platform.figures()
        with closing(storage_client(platform.storage_url)) as client:
            sessions = stored_sessions(client, "messages")
    assert figures.executions == dict.fromkeys(keys, 1)
    assert [*figures.sessions.values()] == [1] * 50
    assert figures.sessions.keys() == sessions.keys()
    assert figures.responses == {200: 50}
    assert figures.peak_running == 50
    assert figures.running == 0
    assert sorted(figures.names("POST")) == sorted(keys)
    lines = {tuple(summarize(messages)) for messages in sessions.values()}
    assert lines == {("opened", f"{key} line 0", f"{key} line 1", f"{key} line 2", "closed") for key in keys}


def test_beyond_its_limit_the_platform_answers_429_and_runs_nothing() -> None:
    with run_simulated_platform(max_running=3) as platform:
        platform.create_bucket("messages")
        calls = in_background(lambda: statuses_of(platform, "messages", [{"seconds": 2}] * 3))
        wait_until(lambda: platform.figures().running == 3)
        assert statuses_of(platform, "messages", [{}] * 2) == [429, 429]
        assert calls.result(timeout=30) == [200] * 3
        assert statuses_of(platform, "messages", [{}]) == [200]
        figures = platform.figures()
    assert figures.responses == {200: 4, 429: 2}
    assert figures.executions == {"call": 4}
    assert figures.peak_running == 3


def test_the_first_deliveries_of_a_call_get_the_statuses_of_its_event() -> None:
    with run_simulated_platform() as platform:
        platform.create_bucket("messages")
        event = {"platform": [429, 500]}
        responses = [call(platform.function_url, "messages", event, prefix="some/session") for _ in range(4)]
        assert call(platform.function_url, "messages", event, prefix="other/session").status_code == 429
        figures = platform.figures()
    assert [response.status_code for response in responses] == [429, 500, 200, 409]
    assert all("no available instance" in response.text for response in responses[:2])
    assert not any("Dagster-Pipes-Protocol" in response.headers for response in responses[:2])
    assert figures.executions == {"call": 1}


def test_a_frozen_instance_sends_no_heartbeat_and_no_response() -> None:
    with run_simulated_platform(heartbeat_interval=0.1) as platform:
        platform.create_bucket("messages")
        event = {"seconds": 0.5, "ending": "freezes"}
        with pytest.raises(requests.ReadTimeout):
            requests.post(platform.function_url, json={**bootstrap("messages", "frozen"), **event}, timeout=1.5)
        with closing(storage_client(platform.storage_url)) as client:
            chunks = [blob.name for blob in client.list_blobs("messages")]
        assert platform.figures().running == 1
    assert 2 <= len(chunks) <= 6


def test_latencies_and_cold_starts_take_their_time() -> None:
    with run_simulated_platform(storage_latency=0.2, response_latency=0.3, cold_starts=1, cold_start_seconds=1) as slow:
        create = seconds_of(lambda: slow.create_bucket("messages"))
        cold, warm = (seconds_of(lambda: call(slow.function_url, "messages", {})) for _ in range(2))
        with closing(storage_client(slow.storage_url)) as client:
            sessions = stored_sessions(client, "messages").values()
        extras = [messages[0]["params"]["extras"] for messages in sessions]
    assert create >= 0.2
    assert warm >= 2 * 0.2 + 0.3  # the claim, the last chunk, the response
    assert cold >= 1 + 2 * 0.2 + 0.3
    assert sorted(each["cold_start"] for each in extras) == [False, True]


def test_requests_are_counted_by_their_kind() -> None:
    with run_simulated_platform() as platform, closing(storage_client(platform.storage_url)) as client:
        platform.create_bucket("messages")
        store = ObjectStore("messages", client)  # from now on the client does not look the bucket up
        platform.reset()
        store.create("a/1.json", b"x", timeout=30)
        assert store.read("a/1.json", max_bytes=9, timeout=30) == b"x"
        client.bucket("messages").blob("a/1.json").reload()
        assert store.list_keys("a/", timeout=30) == ["a/1.json"]
        store.delete(["a/1.json"], timeout=30)
        figures = platform.figures()
    kinds = [(request.kind, request.name) for request in figures.requests]
    name = "a/1.json"
    assert kinds == [("PUT", name), ("GET", name), ("METADATA", name), ("LIST", "a/"), ("BATCH", "1")]
    assert figures.cpu_seconds > 0


def test_connections_are_counted() -> None:
    with run_simulated_platform() as platform:
        platform.reset()
        with requests.Session() as session:
            for _ in range(3):
                session.get(f"{platform.storage_url}/storage/v1/b/none", timeout=30)
        assert platform.figures().connections == 2  # its own too


def test_the_busiest_second_may_start_anywhere() -> None:
    times = [0.0, 0.9, 1.2, 1.8, 1.85, 3.0]
    figures = Figures(requests=[WireRequest(time, "LIST", "") for time in times])
    assert figures.most_in_a_second("LIST") == 4
    assert figures.most_in_a_second("GET") == 0
