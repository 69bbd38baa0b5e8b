"""The fault proxy does what a plan says, no more, and fails a test whose plan was not met."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed, ServiceUnavailable, TooManyRequests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from local_stack.emulators import EMBEDDED, Emulator, run_emulator
from local_stack.functions import FunctionServer
from tests.faults import (
    ANY,
    CALL,
    DELETE,
    EVERY,
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
    FaultNotMetError,
    FaultProxy,
    ResetAfter,
    ResetBefore,
    Stall,
    Status,
    StatusAfter,
    Truncate,
    after,
    first,
    refused_url,
    storage_forbidden,
)

TIMEOUT = 20.0
RETRY = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(10.0)


class Upstream(ThreadingHTTPServer):
    """Answers every request with its number and body, once it is allowed to, and remembers them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), UpstreamHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []
        self.arrived = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()


class UpstreamHandler(BaseHTTPRequestHandler):
    server: Upstream

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append((self.command, self.path, dict(self.headers), body))
        number = len(self.server.received)
        self.server.arrived.release()
        self.server.may_answer.wait(TIMEOUT)
        answer = f"{number}:".encode() + body
        self.send_response(200)
        self.send_header("X-Number", str(number))
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_PATCH = do_POST = serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the proxy has cut off what was under way
            super().handle()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def embedded() -> Iterator[Emulator]:
    with run_emulator(EMBEDDED) as emulator:
        yield emulator


def post(url: str, body: bytes = b"hello", *, timeout: float = TIMEOUT) -> requests.Response:
    return requests.post(url, data=body, timeout=timeout)


@contextmanager
def storage_bucket(url: str, name: str = "some-bucket") -> Iterator[storage.Bucket]:
    options = {"api_endpoint": url}
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth leaves it untyped
    with closing(storage.Client(project="local", credentials=credentials, client_options=options)) as client:
        yield client.bucket(name)


@contextmanager
def proxied_bucket(emulator: Emulator, bucket: str, *faults: Fault) -> Iterator[tuple[storage.Bucket, FaultProxy]]:
    with FaultProxy(emulator.url, faults) as proxy, storage_bucket(proxy.url, bucket) as proxied:
        yield proxied, proxy


def kinds(proxy: FaultProxy) -> list[tuple[str, str | None, int | None]]:
    """What the log says, without the requests that the client sends on its own in the background."""
    return [(r.kind, r.object_name, r.status) for r in proxy.requests if r.kind != "bucket"]


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


def test_a_request_and_its_answer_pass_unchanged(upstream: Upstream) -> None:
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


def test_a_body_in_chunks_and_a_head_request_pass(upstream: Upstream) -> None:
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


def test_an_upstream_that_is_not_there_is_a_reset() -> None:
    with FaultProxy(refused_url()) as proxy, pytest.raises(requests.ConnectionError):
        post(proxy.url)
    assert [r.status for r in proxy.requests] == [None]


def test_an_upstream_without_plain_http_is_refused() -> None:
    with pytest.raises(ValueError, match="plain HTTP, got 'https://somewhere'"):
        FaultProxy("https://somewhere")


def test_nothing_listens_at_the_refused_url() -> None:
    with pytest.raises(requests.ConnectionError, match="Connection refused"):
        post(refused_url())


# actions


@pytest.mark.parametrize("action", [NO_INSTANCE_429, NO_INSTANCE_500, INSTANCE_DIED, PLATFORM_TIMEOUT, Status(418)])
def test_a_status_is_answered_and_nothing_delivered(upstream: Upstream, action: Status) -> None:
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


def test_a_reset_before_is_a_reset_and_nothing_is_delivered(upstream: Upstream) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, ResetBefore())]) as proxy:
        with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
            post(proxy.url)
        assert upstream.received == []
        assert post(proxy.url).text == "1:hello"


def test_a_reset_after_loses_the_acknowledgement_alone(upstream: Upstream) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, ResetAfter())]) as proxy:
        with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
            post(proxy.url)
        assert len(upstream.received) == 1


@pytest.mark.parametrize("action", [ResetAfter(within=0.05), StatusAfter(504, within=0.05)])
def test_a_client_can_be_cut_off_while_its_request_is_processed(upstream: Upstream, action: Action) -> None:
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


def test_a_truncated_body_ends_before_its_length(upstream: Upstream) -> None:
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


def test_a_body_that_is_too_short_to_be_cut_is_an_error_of_the_plan(upstream: Upstream) -> None:
    proxy = FaultProxy(upstream.url, [Fault(CALL, Truncate(7))])
    with (
        pytest.raises(ValueError, match=r"Truncate\(keep_bytes=7\) cannot cut a body of 7 bytes"),
        proxy,
        pytest.raises(requests.ConnectionError),
    ):
        post(proxy.url)


@pytest.mark.parametrize("processed", [False, True])
def test_a_stall_is_a_read_timeout_and_ends_with_the_proxy(upstream: Upstream, processed: bool) -> None:
    started = time.monotonic()
    with FaultProxy(upstream.url, [Fault(CALL, Stall(600, processed))]) as proxy, pytest.raises(requests.ReadTimeout):
        post(proxy.url, timeout=0.2)
    assert time.monotonic() - started < 10
    assert len(upstream.received) == processed


def test_a_stall_ends_without_an_answer(upstream: Upstream) -> None:
    with (
        FaultProxy(upstream.url, [Fault(CALL, Stall(0.05))]) as proxy,
        pytest.raises(requests.ConnectionError, match="Remote end closed connection without response"),
    ):
        post(proxy.url)


def test_a_delay_comes_before_the_answer(upstream: Upstream) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Delay(0.2))]) as proxy:
        response = post(proxy.url)
    assert response.text == "1:hello"
    assert response.elapsed.total_seconds() >= 0.2


@pytest.mark.parametrize("concurrently", [False, True])
@pytest.mark.parametrize("answer", ["first", "second"])
def test_a_duplicate_is_delivered_twice(upstream: Upstream, concurrently: bool, answer: Any) -> None:
    with FaultProxy(upstream.url, [Fault(CALL, Duplicate(concurrently, answer))]) as proxy:
        response = post(proxy.url)
        for _ in range(2):
            assert upstream.arrived.acquire(timeout=TIMEOUT)
    assert [body for *_, body in upstream.received] == [b"hello", b"hello"]
    if not concurrently:
        assert response.headers["X-Number"] == {"first": "1", "second": "2"}[answer]


def test_concurrent_duplicates_are_under_way_at_the_same_time(upstream: Upstream) -> None:
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
def test_ordinals_say_which_requests_are_struck(upstream: Upstream, at: Any, statuses: list[int]) -> None:
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


def test_the_first_of_several_faults_strikes(upstream: Upstream) -> None:
    faults = [Fault(CALL, Status(503)), Fault(CALL, Status(429), at=first(2))]
    with FaultProxy(upstream.url, faults) as proxy:
        assert [post(proxy.url).status_code for _ in range(3)] == [503, 429, 200]


# accounting


def test_a_fault_that_was_not_met_is_named() -> None:
    fault = Fault(READ.of("x"), ResetBefore())
    text = re.escape(f"struck 0 of at least 1, 0 requests matched: {fault}")
    with pytest.raises(FaultNotMetError, match=text), FaultProxy(refused_url(), [fault]):
        pass


def test_a_fault_that_was_met_too_seldom_is_named_with_what_came(upstream: Upstream) -> None:
    fault = Fault(CALL, Status(503), EVERY, minimum=2)
    with (
        pytest.raises(FaultNotMetError, match=r"struck 1 of at least 2, 1 requests(.|\n)*  call /path: 503"),
        FaultProxy(upstream.url, [fault]) as proxy,
    ):
        post(f"{proxy.url}/path")


def test_the_error_of_the_test_itself_is_not_hidden(upstream: Upstream) -> None:
    with pytest.raises(KeyError), FaultProxy(upstream.url, [Fault(CALL, Status(503))]):
        raise KeyError


def test_a_plan_can_be_in_force_for_a_part_of_the_proxy_s_life(upstream: Upstream) -> None:
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


def test_the_end_of_a_plan_ends_its_stalls(upstream: Upstream) -> None:
    with FaultProxy(upstream.url) as proxy, ThreadPoolExecutor() as pool:
        with proxy.planned(Fault(CALL, Stall(600))) as plan:
            stalled = pool.submit(post, proxy.url)
            plan.wait_until_met(TIMEOUT)
            assert not stalled.done()
        with pytest.raises(requests.ConnectionError):
            stalled.result(TIMEOUT)


def test_waiting_for_a_strike_that_does_not_come_fails(upstream: Upstream) -> None:
    with pytest.raises(FaultNotMetError), FaultProxy(upstream.url, [Fault(CALL, Status(503))]) as proxy:
        proxy.plan.wait_until_met(0.01)


# preconditions


def create(url: str, content: bytes, barrier: threading.Barrier) -> int:
    with storage_bucket(url) as bucket:
        barrier.wait(TIMEOUT)
        try:
            bucket.blob("the/object").upload_from_string(content, if_generation_match=0, retry=None)
        except PreconditionFailed:
            return 412
        return 200


@pytest.mark.parametrize("size", [10, 9 * 1024 * 1024], ids=["multipart", "resumable"])
def test_of_uploads_at_the_same_instant_exactly_one_creates_the_object(embedded: Emulator, size: int) -> None:
    with FaultProxy(embedded.url, enforce_preconditions=True) as proxy, storage_bucket(proxy.url) as bucket:
        bucket.create()
        for _ in range(5):
            barrier = threading.Barrier(2)
            contents = [b"a" * size, b"b" * size]
            with ThreadPoolExecutor(2) as pool:
                results = list(pool.map(create, [proxy.url] * 2, contents, [barrier] * 2))
            assert sorted(results) == [200, 412]
            assert bucket.blob("the/object").download_as_bytes() == contents[results.index(200)]
            bucket.blob("the/object").delete()


def test_a_duplicate_creates_the_object_once(embedded: Emulator) -> None:
    duplicate = Fault(UPLOAD, Duplicate(answer="second"))
    with (
        FaultProxy(embedded.url, [duplicate], enforce_preconditions=True) as proxy,
        storage_bucket(proxy.url) as bucket,
    ):
        bucket.create()
        with pytest.raises(PreconditionFailed, match="At least one of the pre-conditions you specified did not hold"):
            bucket.blob("object").upload_from_string(b"content", if_generation_match=0)
        assert bucket.blob("object").download_as_bytes() == b"content"


def test_without_the_precondition_an_object_is_replaced(embedded: Emulator) -> None:
    with FaultProxy(embedded.url, enforce_preconditions=True) as proxy, storage_bucket(proxy.url) as bucket:
        bucket.create()
        for content in (b"one", b"two"):
            bucket.blob("object").upload_from_string(content)
        assert bucket.blob("object").download_as_bytes() == b"two"


def test_a_resumable_upload_that_lost_its_last_acknowledgement_is_complete(emulator: Emulator, bucket: str) -> None:
    """As in Cloud Storage: sent again, the finished upload answers with its object, not with 412."""
    lost = Fault(UPLOAD, ResetAfter(), at={2})
    content = b"x" * (9 * 1024 * 1024)
    with (
        FaultProxy(emulator.url, [lost], enforce_preconditions=True) as proxy,
        storage_bucket(proxy.url, bucket) as proxied,
    ):
        proxied.blob("large").upload_from_string(content, if_generation_match=0, retry=RETRY)
        assert proxied.blob("large").download_as_bytes() == content
    assert kinds(proxy)[:-1] == [("upload", "large", 200), ("upload", "large", None), ("upload", "large", 200)]


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


def test_a_proxy_that_ends_cuts_off_what_is_under_way(upstream: Upstream) -> None:
    upstream.may_answer.clear()
    with ThreadPoolExecutor() as clients:
        with FaultProxy(upstream.url) as proxy:
            call = clients.submit(post, proxy.url)
            assert upstream.arrived.acquire(timeout=TIMEOUT)
        assert isinstance(call.exception(TIMEOUT), requests.ConnectionError)
