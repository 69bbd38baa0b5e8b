"""A plan strikes the requests that it says, no others, and fails a test in which it was not met."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests
from google.api_core.exceptions import Forbidden, NotFound

from local_stack.emulators import Emulator
from tests.faults import (
    CALL,
    DELETE,
    EVERY,
    LIST,
    METADATA,
    READ,
    UPLOAD,
    Action,
    Duplicate,
    Fault,
    FaultNotMetError,
    FaultProxy,
    ResetAfter,
    ResetBefore,
    Stall,
    Status,
    Truncate,
    after,
    first,
)
from tests.faults.both_ends import RETRY, TIMEOUT, RecordingServer, post, proxied_bucket

# which requests are struck


@pytest.mark.parametrize(
    ("at", "statuses"),
    [
        (first(2), [503, 503, 200, 200]),
        (after(2), [200, 200, 503, 503]),
        (after(1, times=2), [200, 503, 503, 200]),
        (EVERY, [503, 503, 503, 503]),
        ({2, 4}, [200, 503, 200, 503]),
    ],
)
def test_ordinals_say_which_requests_are_struck(upstream: RecordingServer, at: Any, statuses: list[int]) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Status(503), at)]) as proxy:
        assert [post(proxy.url).status_code for _ in range(4)] == statuses


def test_an_object_s_name_says_which_uploads_are_struck(emulator: Emulator, bucket: str) -> None:
    fault = Fault(UPLOAD.of(r"/2\.json$"), Status(503))
    with proxied_bucket(emulator, bucket, fault) as (proxied, proxy):
        for number in range(1, 4):
            proxied.blob(f"prefix/{number}.json").upload_from_string(b"{}", if_generation_match=0, retry=RETRY)
    assert [r.object_name for r in proxy.requests if r.fault == fault] == ["prefix/2.json"]
    assert [r.status for r in proxy.requests if r.kind == "upload"] == [200, 503, 200, 200]


def test_an_upload_is_recognised_whose_name_is_in_the_query(emulator: Emulator, bucket: str) -> None:
    with FaultProxy(emulator.url, [Fault(UPLOAD.of("^a/b$"), Status(503))]) as proxy:
        url = f"{proxy.url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a%2Fb"
        assert [post(url).status_code for _ in range(2)] == [503, 200]


@pytest.mark.parametrize("struck", [1, 2])
def test_both_requests_of_a_resumable_upload_can_be_struck(emulator: Emulator, bucket: str, struck: int) -> None:
    fault = Fault(UPLOAD.of("^large$"), ResetBefore(), at={struck})
    with proxied_bucket(emulator, bucket, fault) as (proxied, proxy):
        content = b"x" * (9 * 1024 * 1024)
        proxied.blob("large").upload_from_string(content, if_generation_match=0, retry=RETRY)
        assert proxied.blob("large").download_as_bytes() == content
    assert proxy.plan.strikes(fault) == 1


@pytest.mark.parametrize("match", [READ, METADATA, LIST, DELETE])
def test_each_kind_of_request_is_struck_alone(emulator: Emulator, bucket: str, match: Any) -> None:
    with proxied_bucket(emulator, bucket, Fault(match, Status(403), EVERY)) as (proxied, proxy):
        blob = proxied.blob("object")
        blob.upload_from_string(b"content")
        actions = {"read": blob.download_as_bytes, "metadata": blob.reload, "list": lambda: list(proxied.list_blobs())}
        for kind, action in {**actions, "delete": blob.delete}.items():
            if kind == match.kind:
                with pytest.raises(Forbidden):
                    action()
            else:
                action()
    assert [r.kind for r in proxy.requests if r.fault] == [match.kind]


def test_the_first_of_several_faults_strikes(upstream: RecordingServer) -> None:
    faults = [Fault(CALL, Status(503)), Fault(CALL, Status(429), at=first(2))]
    with FaultProxy(upstream.url, faults) as proxy:
        assert [post(proxy.url).status_code for _ in range(3)] == [503, 429, 200]


def test_a_fault_can_strike_answers_alone_and_counts_no_others(emulator: Emulator, bucket: str) -> None:
    fault = Fault(READ.answered(200), Truncate(3), at={2})
    with proxied_bucket(emulator, bucket, fault) as (proxied, proxy):
        blob = proxied.blob("object")
        for _ in range(3):
            with pytest.raises(NotFound):
                blob.download_as_bytes(retry=None)
        blob.upload_from_string(b"content")
        assert blob.download_as_bytes(retry=None) == b"content"
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            blob.download_as_bytes(retry=None)
    assert [(r.status, r.fault) for r in proxy.requests if r.kind == "read"] == [
        *[(404, None)] * 3,
        (200, None),
        (200, fault),
    ]


@pytest.mark.parametrize("action", [ResetBefore(), ResetAfter(), Duplicate(), Stall(0.05, processed=True)])
def test_a_request_whose_answer_is_struck_is_delivered_once(upstream: RecordingServer, action: Action) -> None:
    with FaultProxy(upstream.url, [Fault(CALL.answered(200), action)]) as proxy, suppress(requests.ConnectionError):
        post(proxy.url)
    assert len(upstream.received) == 1


def test_a_fault_of_requests_strikes_before_one_of_answers(upstream: RecordingServer) -> None:
    faults = [Fault(CALL.answered(200), Status(418)), Fault(CALL, Status(503))]
    with FaultProxy(upstream.url, faults) as proxy:
        assert [post(proxy.url).status_code for _ in range(3)] == [503, 418, 200]


# accounting


def test_a_fault_that_was_not_met_is_named(refused_url: str) -> None:
    fault = Fault(READ.of("x"), ResetBefore())
    text = re.escape(f"struck 0 of at least 1, 0 requests matched: {fault}")
    with pytest.raises(FaultNotMetError, match=text), FaultProxy(refused_url, [fault]):
        pass


def test_a_fault_that_was_met_too_seldom_is_named_with_what_came(upstream: RecordingServer) -> None:
    fault = Fault(CALL, Status(503), EVERY, minimum=2)
    with (
        pytest.raises(FaultNotMetError, match=r"struck 1 of at least 2, 1 requests(.|\n)*  call /path: 503"),
        FaultProxy(upstream.url, [fault]) as proxy,
    ):
        post(f"{proxy.url}/path")


def test_the_error_of_the_test_itself_is_not_hidden(upstream: RecordingServer) -> None:
    with pytest.raises(KeyError), FaultProxy(upstream.url, [Fault(CALL, Status(503))]):
        raise KeyError


def test_a_plan_can_be_in_force_for_a_part_of_the_proxy_s_life(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url) as proxy:
        fault = Fault(CALL, Status(503))
        for _ in range(2):
            with proxy.planned(fault) as plan:
                assert post(proxy.url).status_code == 503
                assert plan.strikes(fault) == 1
            assert [r.status for r in plan.requests] == [503]
            assert post(proxy.url).status_code == 200
        with pytest.raises(FaultNotMetError), proxy.planned(fault):
            pass
    assert [r.status for r in proxy.requests] == [503, 200, 503, 200]


def test_the_end_of_a_plan_ends_its_stalls(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url) as proxy, ThreadPoolExecutor() as pool:
        with proxy.planned(Fault(CALL, Stall(600))) as plan:
            stalled = pool.submit(post, proxy.url)
            plan.wait_until_met(TIMEOUT)
            assert not stalled.done()
        with pytest.raises(requests.ConnectionError):
            stalled.result(TIMEOUT)


def test_waiting_for_a_strike_that_does_not_come_fails(upstream: RecordingServer) -> None:
    with pytest.raises(FaultNotMetError), FaultProxy(upstream.url, [Fault(CALL, Status(503))]) as proxy:
        proxy.plan.wait_until_met(0.01)
