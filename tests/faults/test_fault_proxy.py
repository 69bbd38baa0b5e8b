"""The fault proxy passes on what no plan strikes, does to the rest what its action says, and leaves nothing running."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed, ServiceUnavailable, TooManyRequests

from local_stack.emulators import Emulator
from local_stack.functions import FunctionServer
from tests.faults import (
    ANY,
    CALL,
    DELETE,
    INSTANCE_DIED,
    LIST,
    METADATA,
    NO_INSTANCE_429,
    NO_INSTANCE_500,
    PLATFORM_TIMEOUT,
    READ,
    STORAGE_RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Action,
    Away,
    Delay,
    Duplicate,
    Fault,
    FaultProxy,
    ResetAfter,
    ResetBefore,
    Stall,
    Status,
    StatusAfter,
    Truncate,
    storage_forbidden,
)
from tests.faults.both_ends import RETRY, TIMEOUT, RecordingServer, kinds, post, proxied_bucket, storage_bucket

pytestmark = pytest.mark.every_emulator

# pass-through


def test_the_storage_client_works_through_the_proxy(emulator: Emulator, bucket: str) -> None:
    name = "a folder/ä?&#%.json"
    with proxied_bucket(emulator, bucket) as (proxied, proxy):
        proxied.blob(name).upload_from_string(b"content", if_generation_match=0)
        assert proxied.blob(name).download_as_bytes() == b"content"
        with pytest.raises(NotFound):
            proxied.blob("missing").download_as_bytes()
        proxied.blob(name).reload()
        assert [blob.name for blob in proxied.list_blobs()] == [name]
        proxied.blob(name).delete()
        assert list(proxied.list_blobs()) == []
        deleted = 204 if emulator.honours_preconditions else 200
    assert [(kind, object_name) for kind, object_name, _ in kinds(proxy)] == [
        ("upload", name),
        ("read", name),
        ("read", "missing"),
        ("metadata", name),
        ("list", None),
        ("delete", name),
        ("list", None),
    ]
    assert [status for *_, status in kinds(proxy)][:5] == [200, 200, 404, 200, 200]
    assert kinds(proxy)[5][2] in {200, deleted}


def test_a_resumable_upload_of_32_mb_goes_through_the_proxy(emulator: Emulator, bucket: str) -> None:
    content = bytes(range(256)) * (32 * 1024 * 1024 // 256)
    with proxied_bucket(emulator, bucket) as (proxied, proxy):
        proxied.blob("large").upload_from_string(content, if_generation_match=0)
        assert proxied.blob("large").download_as_bytes() == content
    assert kinds(proxy) == [("upload", "large", 200), ("upload", "large", 200), ("read", "large", 200)]


def test_a_request_and_its_answer_pass_unchanged(upstream: RecordingServer) -> None:
    body = b"\x00\xff" * (16 * 1024 * 1024)
    with FaultProxy(upstream.url) as proxy:
        response = requests.patch(
            f"{proxy.url}/a%2Fb/c?x=%26&y=1", data=body, headers={"X-Some": "thing"}, timeout=TIMEOUT
        )
    (method, path, headers, received) = upstream.received[0]
    assert (method, path, received == body) == ("PATCH", "/a%2Fb/c?x=%26&y=1", True)
    assert headers["X-Some"] == "thing"
    assert headers["Host"] == urlsplit(proxy.url).netloc
    assert response.content == b"1:" + body
    assert response.headers["X-Number"] == "1"
    assert response.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]


def test_a_body_in_chunks_and_a_head_request_pass(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url) as proxy, requests.Session() as session:
        assert session.post(proxy.url, data=iter([b"one,", b"two"]), timeout=TIMEOUT).text == "1:one,two"
        assert session.head(proxy.url, timeout=TIMEOUT).headers["Content-Length"] == "2"
        assert session.get(proxy.url, timeout=TIMEOUT).text == "3:"  # on the same connection


def test_a_function_is_called_through_the_proxy(plain_function: FunctionServer) -> None:
    with FaultProxy(plain_function.url, [Fault(CALL, NO_INSTANCE_429)]) as proxy:
        assert post(proxy.url).status_code == 429
        direct = post(plain_function.url)
        through = post(proxy.url)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert [(r.kind, r.path, r.object_name) for r in proxy.requests] == [("call", "/", None)] * 2


def test_an_upstream_that_is_not_there_is_a_reset(refused_url: str) -> None:
    with FaultProxy(refused_url) as proxy, pytest.raises(requests.ConnectionError):
        post(proxy.url)
    assert [r.status for r in proxy.requests] == [None]


def test_an_upstream_without_plain_http_is_refused() -> None:
    with pytest.raises(ValueError, match="plain HTTP, got 'https://somewhere'"):
        FaultProxy("https://somewhere")


def test_nothing_listens_at_the_refused_url(refused_url: str) -> None:
    with pytest.raises(requests.ConnectionError, match="Connection refused"):
        post(refused_url)


# actions


@pytest.mark.parametrize("action", [NO_INSTANCE_429, NO_INSTANCE_500, INSTANCE_DIED, PLATFORM_TIMEOUT, Status(418)])
def test_a_status_is_answered_and_nothing_delivered(upstream: RecordingServer, action: Status) -> None:
    with FaultProxy(upstream.url, [Fault(ANY, action)]) as proxy:
        response = post(proxy.url)
    assert (response.status_code, response.content) == (action.code, action.body)
    assert upstream.received == []


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (storage_forbidden(), Forbidden, "does not have storage.objects.create access"),
        (STORAGE_UNAVAILABLE, ServiceUnavailable, "We encountered an internal error"),
        (STORAGE_RATE_LIMITED, TooManyRequests, "exceeded the rate limit"),
    ],
)
def test_the_storage_client_understands_an_error_of_storage(
    emulator: Emulator, bucket: str, status: Status, error: type[Exception], text: str
) -> None:
    with proxied_bucket(emulator, bucket, Fault(UPLOAD, status)) as (proxied, _):
        with pytest.raises(error, match=text):
            proxied.blob("object").upload_from_string(b"content", retry=None)
        assert list(proxied.list_blobs()) == []


def test_a_status_after_comes_although_the_request_was_processed(emulator: Emulator, bucket: str) -> None:
    with proxied_bucket(emulator, bucket, Fault(UPLOAD, STORAGE_UNAVAILABLE.after())) as (proxied, _):
        with pytest.raises(ServiceUnavailable):
            proxied.blob("object").upload_from_string(b"content", retry=None)
        assert proxied.blob("object").download_as_bytes() == b"content"


def test_a_reset_before_is_a_reset_and_nothing_is_delivered(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, ResetBefore())]) as proxy:
        with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
            post(proxy.url)
        assert upstream.received == []
        assert post(proxy.url).text == "1:hello"


def test_a_reset_after_loses_the_acknowledgement_alone(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, ResetAfter())]) as proxy:
        with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
            post(proxy.url)
        assert len(upstream.received) == 1


@pytest.mark.parametrize("action", [ResetAfter(within=0.05), StatusAfter(504, within=0.05)])
def test_a_client_can_be_cut_off_while_its_request_is_processed(upstream: RecordingServer, action: Action) -> None:
    upstream.may_answer.clear()
    with FaultProxy(upstream.url, [Fault(CALL, action)]) as proxy:
        try:
            assert post(proxy.url).status_code == 504
        except requests.ConnectionError:
            assert isinstance(action, ResetAfter)
        assert upstream.arrived.acquire(timeout=TIMEOUT)
        assert not upstream.may_answer.is_set()


def test_a_lost_acknowledgement_of_an_upload_shows_as_412_on_the_retry(embedded: Emulator) -> None:
    with (
        FaultProxy(embedded.url, [Fault(UPLOAD.of("^object$"), ResetAfter())], enforce_preconditions=True) as proxy,
        storage_bucket(proxy.url) as bucket,
    ):
        bucket.create()
        with pytest.raises(PreconditionFailed):
            bucket.blob("object").upload_from_string(b"content", if_generation_match=0, retry=RETRY)
    assert [entry for entry in kinds(proxy) if entry[0] == "upload"] == [
        ("upload", "object", None),
        ("upload", "object", 412),
    ]


def test_a_truncated_body_ends_before_its_length(upstream: RecordingServer) -> None:
    with (
        FaultProxy(upstream.url, [Fault(CALL, Truncate(3))]) as proxy,
        requests.post(proxy.url, data=b"hello", timeout=TIMEOUT, stream=True) as response,
    ):
        assert response.headers["Content-Length"] == "7"
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="3 bytes read, 4 more expected"):
            _ = response.content


def test_a_truncated_download_is_seen_by_the_storage_client(emulator: Emulator, bucket: str) -> None:
    with proxied_bucket(emulator, bucket, Fault(READ, Truncate(3))) as (proxied, _):
        proxied.blob("object").upload_from_string(b"content")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            proxied.blob("object").download_as_bytes(retry=None)


def test_a_body_that_is_too_short_to_be_cut_is_an_error_of_the_plan(upstream: RecordingServer) -> None:
    proxy = FaultProxy(upstream.url, [Fault(CALL, Truncate(7))])
    with (
        pytest.raises(ValueError, match=r"Truncate\(keep_bytes=7\) cannot cut a body of 7 bytes"),
        proxy,
        pytest.raises(requests.ConnectionError),
    ):
        post(proxy.url)


@pytest.mark.parametrize("processed", [False, True])
def test_a_stall_is_a_read_timeout_and_ends_with_the_proxy(upstream: RecordingServer, processed: bool) -> None:
    started = time.monotonic()
    with FaultProxy(upstream.url, [Fault(CALL, Stall(600, processed))]) as proxy, pytest.raises(requests.ReadTimeout):
        post(proxy.url, timeout=0.2)
    assert time.monotonic() - started < 10
    assert len(upstream.received) == processed


def test_a_stall_ends_without_an_answer(upstream: RecordingServer) -> None:
    with (
        FaultProxy(upstream.url, [Fault(CALL, Stall(0.05))]) as proxy,
        pytest.raises(requests.ConnectionError, match="Remote end closed connection without response"),
    ):
        post(proxy.url)


def test_a_delay_comes_before_the_answer(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Delay(0.2))]) as proxy:
        response = post(proxy.url)
    assert response.text == "1:hello"
    assert response.elapsed.total_seconds() >= 0.2


@pytest.mark.parametrize("concurrently", [False, True])
@pytest.mark.parametrize("answer", ["first", "second"])
def test_a_duplicate_is_delivered_twice(upstream: RecordingServer, concurrently: bool, answer: Any) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Duplicate(concurrently, answer))]) as proxy:
        response = post(proxy.url)
        for _ in range(2):
            assert upstream.arrived.acquire(timeout=TIMEOUT)
    assert [body for *_, body in upstream.received] == [b"hello", b"hello"]
    if not concurrently:
        assert response.headers["X-Number"] == {"first": "1", "second": "2"}[answer]


def test_concurrent_duplicates_are_under_way_at_the_same_time(upstream: RecordingServer) -> None:
    upstream.may_answer.clear()
    fault = Fault(CALL, Duplicate(concurrently=True))
    with FaultProxy(upstream.url, [fault]) as proxy, ThreadPoolExecutor() as pool:
        response = pool.submit(post, proxy.url)
        for _ in range(2):
            assert upstream.arrived.acquire(timeout=TIMEOUT)
        upstream.may_answer.set()
        assert response.result().ok


def test_away_resets_everything_until_the_time_is_over(emulator: Emulator, bucket: str) -> None:
    away = Fault(ANY, Away(0.5), minimum=2)
    with proxied_bucket(emulator, bucket, away) as (proxied, proxy):
        started = time.monotonic()
        proxied.blob("object").upload_from_string(b"content", retry=RETRY)
        assert time.monotonic() - started >= 0.5
        assert proxied.blob("object").download_as_bytes(retry=None) == b"content"
        assert proxy.plan.strikes(away) >= 2


# nothing is left


def test_nothing_is_left_running(embedded: Emulator) -> None:
    before = set(threading.enumerate())
    missing = "/storage/v1/b/bucket/o/object"
    faults = [
        Fault(READ, Stall(600)),
        Fault(METADATA, Duplicate(concurrently=True)),
        Fault(LIST, ResetAfter()),
        Fault(DELETE, Delay(600)),
    ]
    with ThreadPoolExecutor() as clients, requests.Session() as idle, FaultProxy(embedded.url, faults) as proxy:
        waiting = [
            clients.submit(requests.get, f"{proxy.url}{missing}?alt=media", timeout=TIMEOUT),
            clients.submit(requests.delete, f"{proxy.url}{missing}", timeout=TIMEOUT),
        ]
        assert idle.get(f"{proxy.url}{missing}", timeout=TIMEOUT).status_code == 404
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{proxy.url}/storage/v1/b/bucket/o", timeout=TIMEOUT)
        proxy.plan.wait_until_met(TIMEOUT)
    for call in waiting:
        assert isinstance(call.exception(TIMEOUT), requests.ConnectionError)
    assert set(threading.enumerate()) == before
    with pytest.raises(requests.ConnectionError, match="Connection refused"):
        post(proxy.url)


def test_a_proxy_that_ends_cuts_off_what_is_under_way(upstream: RecordingServer) -> None:
    upstream.may_answer.clear()
    with ThreadPoolExecutor() as clients:
        with FaultProxy(upstream.url) as proxy:
            call = clients.submit(post, proxy.url)
            assert upstream.arrived.acquire(timeout=TIMEOUT)
        assert isinstance(call.exception(TIMEOUT), requests.ConnectionError)
