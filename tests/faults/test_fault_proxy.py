"""The fault proxy injects the faults of its plan, fails a test without them, and leaves nothing running."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from gcf_pipes._shared.deletion import delete_batch
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed, ServiceUnavailable, TooManyRequests
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from dagster_gcf_pipes.local import EMBEDDED, Emulator, run_emulator, storage_client
from dagster_gcf_pipes.testing._batches import BATCH_PATH
from tests.faults.plan import (
    CALL,
    DELETE,
    EVERY,
    INSTANCE_DIED,
    LIST,
    METADATA,
    READ,
    STORAGE_RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Action,
    Corrupt,
    Delay,
    DelayAnswer,
    DeliverLate,
    Duplicate,
    Fault,
    FaultNotTriggeredError,
    Match,
    ResetAfter,
    ResetBefore,
    Stall,
    Status,
    StatusAfter,
    Trickle,
    Truncate,
    Unavailable,
    after,
    first,
    storage_forbidden,
)
from tests.faults.proxy import FaultProxy

TIMEOUT = 20.0
RETRY = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(10.0)
RESET, CLOSED = "Connection reset by peer", "Remote end closed connection without response"


class RecordingServer(ThreadingHTTPServer):
    """Records requests, and answers each with its number and body as soon as it may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RecordingHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []
        self.arrived = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()


class RecordingHandler(BaseHTTPRequestHandler):
    server: RecordingServer

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append((self.command, self.path, dict(self.headers), body))
        answer = f"{len(self.server.received)}:".encode() + body
        self.server.arrived.release()
        self.server.may_answer.wait(TIMEOUT)
        self.send_response(200)
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the proxy has closed the connection
            super().handle()


@pytest.fixture
def upstream() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def embedded() -> Iterator[Emulator]:
    with run_emulator(EMBEDDED) as emulator:
        yield emulator


def post(url: str, body: bytes = b"hello", *, timeout: float = TIMEOUT) -> requests.Response:
    return requests.post(url, data=body, timeout=timeout)


@contextmanager
def proxied_bucket(emulator: Emulator, *faults: Fault) -> Iterator[tuple[storage.Bucket, FaultProxy]]:
    """Yield a new bucket whose preconditions the proxy enforces, and the proxy."""
    with (
        FaultProxy(emulator.url, faults, enforce_preconditions=True) as proxy,
        closing(storage_client(proxy.url)) as client,
    ):
        yield client.create_bucket(f"bucket-{threading.get_native_id()}-{time.monotonic_ns()}"), proxy


# ------------------------------------------------------------------------------------------------------- without fault


def test_the_storage_client_works_through_the_proxy(embedded: Emulator) -> None:
    name = "a folder/ä?&#%.json"
    with proxied_bucket(embedded) as (bucket, proxy):
        bucket.blob(name).upload_from_string(b"content", if_generation_match=0)
        assert bucket.blob(name).download_as_bytes() == b"content"
        with pytest.raises(NotFound):
            bucket.blob("missing").download_as_bytes()
        bucket.blob(name).reload()
        assert [blob.name for blob in bucket.list_blobs()] == [name]
        with bucket.client.batch():
            bucket.blob(name).delete()
    assert [(r.kind, r.object_name, r.status) for r in proxy.requests if r.kind != "other"] == [
        ("upload", name, 200),
        ("read", name, 200),
        ("read", "missing", 404),
        ("metadata", name, 200),
        ("list", None, 200),
        ("delete", None, 200),
    ]


def test_a_request_and_its_answer_pass_unchanged(upstream: RecordingServer) -> None:
    body = b"\x00\xff" * (1024 * 1024)
    with FaultProxy(upstream.url) as proxy:
        url = f"{proxy.url}/a%2Fb/c?x=%26&y=1"
        response = requests.put(url, data=body, headers={"X-Some": "thing"}, timeout=TIMEOUT)
    (method, path, headers, received) = upstream.received[0]
    assert (method, path, received == body) == ("PUT", "/a%2Fb/c?x=%26&y=1", True)
    assert headers["X-Some"] == "thing"
    assert headers["Host"] == urlsplit(proxy.url).netloc
    assert response.content == b"1:" + body
    assert response.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]


def test_a_refused_connection_to_upstream_is_a_reset(refused_url: str) -> None:
    with FaultProxy(refused_url) as proxy, pytest.raises(requests.ConnectionError, match=RESET):
        post(proxy.url)
    assert [r.status for r in proxy.requests] == [None]


@pytest.mark.parametrize("repetition", range(3))
def test_of_two_uploads_at_once_one_creates_the_object(embedded: Emulator, repetition: int) -> None:
    """With an emulator that ignores preconditions, the proxy enforces them."""
    barrier = threading.Barrier(2)

    def create(blob: storage.Blob) -> int:
        barrier.wait(TIMEOUT)
        try:
            blob.upload_from_string(b"content", if_generation_match=0, retry=None)
        except PreconditionFailed:
            return 412
        return 200

    with proxied_bucket(embedded) as (bucket, _), ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(create, [bucket.blob("object"), bucket.blob("object")])) == [200, 412]


# ------------------------------------------------------------------------------------------- which requests get a fault


@pytest.mark.parametrize(
    ("at", "statuses"),
    [
        (first(2), [503, 503, 200, 200]),
        (after(2), [200, 200, 503, 503]),
        (EVERY, [503, 503, 503, 503]),
        ({2, 4}, [200, 503, 200, 503]),
    ],
)
def test_ordinals_select_requests(upstream: RecordingServer, at: Any, statuses: list[int]) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Status(503), at)]) as proxy:
        assert [post(proxy.url).status_code for _ in range(4)] == statuses


def test_the_name_of_an_object_selects_requests(embedded: Emulator) -> None:
    fault = Fault(UPLOAD.of(r"/2\.json$"), Status(503))
    with proxied_bucket(embedded, fault) as (bucket, proxy):
        for number in range(1, 4):
            bucket.blob(f"prefix/{number}.json").upload_from_string(b"{}", if_generation_match=0, retry=RETRY)
    assert [r.object_name for r in proxy.requests if r.fault == fault] == ["prefix/2.json"]
    assert [r.status for r in proxy.requests if r.kind == "upload"] == [200, 503, 200, 200]


@pytest.mark.parametrize("match", [READ, METADATA, LIST, DELETE])
def test_the_kind_selects_requests(embedded: Emulator, match: Match) -> None:
    with proxied_bucket(embedded, Fault(match, Status(403), EVERY)) as (bucket, proxy):
        blob = bucket.blob("object")
        blob.upload_from_string(b"content")
        actions: dict[str, Callable[[], object]] = {
            "read": blob.download_as_bytes,
            "metadata": blob.reload,
            "list": lambda: list(bucket.list_blobs()),
            "delete": lambda: delete_batch(bucket.client, [blob], timeout=TIMEOUT),
        }
        with pytest.raises(Forbidden):
            actions.pop(match.kind)()
        for action in actions.values():
            action()
    assert [r.kind for r in proxy.requests if r.fault] == [match.kind]


def test_the_answer_selects_requests(embedded: Emulator) -> None:
    fault = Fault(READ.answered(200), Truncate(3), at={2})
    with proxied_bucket(embedded, fault) as (bucket, proxy):
        blob = bucket.blob("object")
        with pytest.raises(NotFound):
            blob.download_as_bytes(retry=None)
        blob.upload_from_string(b"content")
        assert blob.download_as_bytes(retry=None) == b"content"
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            blob.download_as_bytes(retry=None)
    reads = [(r.status, r.fault) for r in proxy.requests if r.kind == "read"]
    assert reads == [(404, None), (200, None), (200, fault)]


@pytest.mark.parametrize("action", [ResetBefore(), Duplicate(), Stall(0.05, processed=True)])
def test_a_request_whose_answer_gets_a_fault_is_delivered_once(upstream: RecordingServer, action: Action) -> None:
    with FaultProxy(upstream.url, [Fault(CALL.answered(200), action)]) as proxy, suppress(requests.ConnectionError):
        post(proxy.url)
    assert len(upstream.received) == 1


def test_the_first_of_several_faults_is_injected(upstream: RecordingServer) -> None:
    faults = [Fault(CALL.answered(200), Status(418)), Fault(CALL, Status(503)), Fault(CALL, Status(429), at=first(2))]
    with FaultProxy(upstream.url, faults) as proxy:
        assert [post(proxy.url).status_code for _ in range(4)] == [503, 429, 418, 200]


# ---------------------------------------------------------------------------------------------------- what a fault does


@pytest.mark.parametrize(
    ("action", "reply", "deliveries"),
    [
        (INSTANCE_DIED, 503, 0),
        (StatusAfter(504), 504, 1),
        (ResetBefore(), RESET, 0),
        (ResetAfter(), RESET, 1),
        (Truncate(3), "4 more expected", 1),
        (Corrupt(), 200, 1),
        (Trickle(0.01), 200, 1),
        (Stall(0.05), CLOSED, 0),
        (Stall(0.05, processed=True), CLOSED, 1),
        (Delay(0.05), 200, 1),
        (DelayAnswer(0.05), 200, 1),
        (Duplicate(), 200, 2),
        (Duplicate(concurrently=True, answer="second"), 200, 2),
        (DeliverLate(3600), RESET, 1),
        (DeliverLate(3600, INSTANCE_DIED), 503, 1),
    ],
)
def test_an_action_gives_its_reply_and_makes_its_deliveries(
    upstream: RecordingServer, action: Action, reply: int | str, deliveries: int
) -> None:
    with FaultProxy(upstream.url) as proxy:
        with proxy.planned(Fault(CALL, action)):
            if isinstance(reply, int):
                assert post(proxy.url).status_code == reply
            else:
                with pytest.raises(requests.exceptions.RequestException, match=reply):
                    post(proxy.url)
        assert len(upstream.received) == deliveries
        assert post(proxy.url).text == f"{deliveries + 1}:hello"


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (storage_forbidden(), Forbidden, "does not have storage.objects.create access"),
        (STORAGE_UNAVAILABLE, ServiceUnavailable, "We encountered an internal error"),
        (STORAGE_RATE_LIMITED, TooManyRequests, "exceeded the rate limit"),
    ],
)
def test_the_storage_client_reads_the_errors_of_storage(
    embedded: Emulator, status: Status, error: type[Exception], text: str
) -> None:
    with proxied_bucket(embedded, Fault(UPLOAD, status)) as (bucket, _), pytest.raises(error, match=text):
        bucket.blob("object").upload_from_string(b"content", retry=None)


@pytest.mark.parametrize(("action", "reply"), [(ResetAfter(within=0.05), RESET), (StatusAfter(504, within=0.05), "")])
def test_a_reply_can_come_before_the_answer_of_upstream(upstream: RecordingServer, action: Action, reply: str) -> None:
    upstream.may_answer.clear()
    with FaultProxy(upstream.url, [Fault(CALL, action)]) as proxy:
        if reply:
            with pytest.raises(requests.ConnectionError, match=reply):
                post(proxy.url)
        else:
            assert post(proxy.url).status_code == 504
        assert upstream.arrived.acquire(timeout=TIMEOUT)


def test_a_lost_acknowledgement_of_an_upload_is_a_412_on_the_retry(embedded: Emulator) -> None:
    lost = Fault(UPLOAD, ResetAfter())
    with proxied_bucket(embedded, lost) as (bucket, proxy), pytest.raises(PreconditionFailed):
        bucket.blob("object").upload_from_string(b"content", if_generation_match=0, retry=RETRY)
    assert [r.status for r in proxy.requests if r.kind == "upload"] == [None, 412]


def test_a_body_that_is_too_short_to_truncate_is_an_error(upstream: RecordingServer) -> None:
    proxy = FaultProxy(upstream.url, [Fault(CALL, Truncate(7))])
    text = r"Truncate\(keep_bytes=7\) cannot cut a body of 7 bytes"
    with pytest.raises(ValueError, match=text), proxy, pytest.raises(requests.ConnectionError):
        post(proxy.url)


def test_a_changed_body_has_the_same_headers(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Corrupt())]) as proxy:
        assert post(proxy.url).text == "1:helln"


def test_a_trickling_response_outlasts_its_timeout_and_ends_with_its_plan(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url) as proxy, ThreadPoolExecutor() as pool:
        with proxy.planned(Fault(CALL, Trickle(0.4))) as plan:
            response = pool.submit(post, proxy.url, timeout=0.8)
            plan.wait_until_triggered(TIMEOUT)
            assert not wait([response], 1.2).done
        assert response.result(TIMEOUT).text == "1:hello"


def test_concurrent_duplicates_are_in_progress_at_the_same_time(upstream: RecordingServer) -> None:
    upstream.may_answer.clear()
    with (
        FaultProxy(upstream.url, [Fault(CALL, Duplicate(concurrently=True))]) as proxy,
        ThreadPoolExecutor() as pool,
    ):
        response = pool.submit(post, proxy.url)
        for _ in range(2):
            assert upstream.arrived.acquire(timeout=TIMEOUT)
        upstream.may_answer.set()
        assert response.result().ok


def test_an_unavailable_server_resets_every_request_for_a_time(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Unavailable(0.3), minimum=2)]) as proxy:
        ends_at = time.monotonic() + 0.3
        while not upstream.received:
            with suppress(requests.ConnectionError):
                post(proxy.url)
        assert time.monotonic() >= ends_at


# ---------------------------------------------------------------------------------------------------------- accounting


def test_a_fault_that_was_not_triggered_is_named(refused_url: str) -> None:
    fault = Fault(READ.of("x"), ResetBefore())
    text = re.escape(f"injected 0 of at least 1 times, 0 requests matched: {fault}")
    with pytest.raises(FaultNotTriggeredError, match=text), FaultProxy(refused_url, [fault]):
        pass


def test_a_fault_that_was_triggered_too_seldom_is_named_with_the_log(upstream: RecordingServer) -> None:
    fault = Fault(CALL, Status(503), EVERY, minimum=2)
    text = r"injected 1 of at least 2 times, 1 requests(.|\n)*  call /path: 503"
    with pytest.raises(FaultNotTriggeredError, match=text), FaultProxy(upstream.url, [fault]) as proxy:
        post(f"{proxy.url}/path")


def test_the_error_of_the_test_itself_is_not_hidden(upstream: RecordingServer) -> None:
    with pytest.raises(KeyError), FaultProxy(upstream.url, [Fault(CALL, Status(503))]):
        raise KeyError


def test_a_plan_can_be_active_for_a_part_of_the_proxys_life(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url) as proxy:
        fault = Fault(CALL, Status(503))
        for _ in range(2):
            with proxy.planned(fault) as plan:
                assert post(proxy.url).status_code == 503
                assert plan.injections(fault) == 1
            assert [r.status for r in plan.requests] == [503]
            assert post(proxy.url).status_code == 200
        with pytest.raises(FaultNotTriggeredError), proxy.planned(fault):
            pass
    assert [r.status for r in proxy.requests] == [503, 200, 503, 200]


def test_waiting_for_a_fault_that_is_not_triggered_fails(upstream: RecordingServer) -> None:
    with pytest.raises(FaultNotTriggeredError), FaultProxy(upstream.url, [Fault(CALL, Status(503))]) as proxy:
        proxy.plan.wait_until_triggered(0.01)


# --------------------------------------------------------------------------------------------------- nothing is left


def test_the_end_of_a_plan_ends_its_stalls(upstream: RecordingServer) -> None:
    with FaultProxy(upstream.url) as proxy, ThreadPoolExecutor() as pool:
        with proxy.planned(Fault(CALL, Stall(600))) as plan:
            stalled = pool.submit(post, proxy.url)
            plan.wait_until_triggered(TIMEOUT)
            assert not stalled.done()
        with pytest.raises(requests.ConnectionError):
            stalled.result(TIMEOUT)


def test_the_end_of_the_proxy_ends_all_waits_and_threads(embedded: Emulator) -> None:
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
            clients.submit(requests.post, f"{proxy.url}{BATCH_PATH}", timeout=TIMEOUT),
        ]
        assert idle.get(f"{proxy.url}{missing}", timeout=TIMEOUT).status_code == 404
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{proxy.url}/storage/v1/b/bucket/o", timeout=TIMEOUT)
        proxy.plan.wait_until_triggered(TIMEOUT)
    for call in waiting:
        assert isinstance(call.exception(TIMEOUT), requests.ConnectionError)
    assert set(threading.enumerate()) == before


def test_the_end_of_the_proxy_ends_requests_in_progress(upstream: RecordingServer) -> None:
    upstream.may_answer.clear()
    with ThreadPoolExecutor() as clients:
        with FaultProxy(upstream.url) as proxy:
            call = clients.submit(post, proxy.url)
            assert upstream.arrived.acquire(timeout=TIMEOUT)
        assert isinstance(call.exception(TIMEOUT), requests.ConnectionError)
