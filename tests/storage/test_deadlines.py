"""`timeout` bounds a whole operation, whatever the connection does, and an interruption ends it at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.storage import PARALLEL_DELETES, ObjectStore

from dagster_gcf_pipes.local import Emulator
from tests.faults.plan import (
    DELETE,
    EVERY,
    LIST,
    METADATA,
    READ,
    STORAGE_PRECONDITION_FAILED,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Action,
    Fault,
    Match,
    ResetBefore,
    Stall,
)
from tests.faults.proxy import FaultProxy
from tests.storage.servers import full_listener, store_at, trickling_server

TIMEOUT = 1.0
AT_MOST = 6.0
"""Seconds, on a busy machine; without a bound an operation would take 30 s and more."""
LARGE = b"x" * (9 * 1024 * 1024)
"""More than a single request uploads."""
OPERATIONS: dict[str, tuple[Match, Callable[[ObjectStore], object]]] = {
    "create": (UPLOAD, lambda store: store.create("a/1.json", b"{}", timeout=TIMEOUT)),
    "create large": (UPLOAD, lambda store: store.create("a/1.json", LARGE, timeout=TIMEOUT)),
    "read": (READ, lambda store: store.read("a/1.json", max_bytes=100_000, timeout=TIMEOUT)),
    "list": (LIST, lambda store: store.list_keys("a/", timeout=TIMEOUT)),
    "delete": (DELETE, lambda store: store.delete(["a/1.json", "a/2.json"], timeout=TIMEOUT)),
}
PROGRAM = """
import sys
from gcf_pipes._shared.storage import ObjectStore, create_client
store = ObjectStore("some-bucket", create_client())
keys = [f"a/{number}.json" for number in range(18_000)]
print("deleting", flush=True)
try:
    store.delete(keys, timeout=60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@contextmanager
def ends_in_time() -> Iterator[None]:
    started = time.monotonic()
    with pytest.raises(PipesStorageError) as caught:
        yield
    assert caught.value.transient
    assert f"within {TIMEOUT:g} s" in str(caught.value)
    assert time.monotonic() - started < AT_MOST


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("action", [Stall(60), Stall(60, processed=True), STORAGE_UNAVAILABLE, ResetBefore()], ids=repr)
def test_an_operation_ends_in_time_at_each_fault(
    emulator: Emulator, bucket: str, operation: str, action: Action
) -> None:
    match, operate = OPERATIONS[operation]
    faults = [Fault(match, action, at=EVERY)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store, ends_in_time():
        operate(store)


def test_an_upload_ends_in_time_when_a_later_request_stalls(emulator: Emulator, bucket: str) -> None:
    _, operate = OPERATIONS["create large"]
    faults = [Fault(Match("send", "PUT", ".*"), Stall(60), at=EVERY)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store, ends_in_time():
        operate(store)


def test_the_comparison_after_a_412_ends_in_time(emulator: Emulator, bucket: str) -> None:
    _, operate = OPERATIONS["create"]
    faults = [Fault(UPLOAD, STORAGE_PRECONDITION_FAILED, at=EVERY), Fault(METADATA, Stall(60), at=EVERY)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store, ends_in_time():
        operate(store)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_ends_in_time_without_a_connection(operation: str) -> None:
    with full_listener() as url, store_at(url) as store, ends_in_time():
        OPERATIONS[operation][1](store)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"], ids=len
)
def test_an_operation_ends_in_time_when_the_answer_trickles(operation: str, head: bytes) -> None:
    """The bytes come too close together for a socket's timeout."""
    with trickling_server(head) as url, store_at(url) as store, ends_in_time():
        OPERATIONS[operation][1](store)


def test_a_timeout_that_has_passed_is_an_error(emulator: Emulator, bucket: str) -> None:
    with store_at(emulator.url, bucket) as store, pytest.raises(PipesStorageError, match="have passed"):
        store.read("a/1.json", max_bytes=10, timeout=-1)


def test_all_objects_together_are_deleted_in_time(emulator: Emulator, bucket: str) -> None:
    keys = [f"a/{number}.json" for number in range(18_000)]
    faults = [Fault(DELETE, STORAGE_UNAVAILABLE, at=EVERY)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store, ends_in_time():
        store.delete(keys, timeout=TIMEOUT)


def test_objects_are_deleted_whether_they_exist_or_not(emulator: Emulator, bucket: str) -> None:
    with store_at(emulator.url, bucket) as store:
        keys = [f"a/{number}.json" for number in range(30)]
        for key in keys[::2]:
            store.create(key, b"{}", timeout=10)
        store.delete(keys, timeout=10)
        store.delete([], timeout=10)
        assert store.list_keys("", timeout=10) == []


@pytest.mark.parametrize("action", [Stall(60), STORAGE_UNAVAILABLE], ids=repr)
def test_an_interruption_ends_a_deletion_and_its_process_at_once(emulator: Emulator, action: Action) -> None:
    faults = [Fault(DELETE, action, at=EVERY, minimum=PARALLEL_DELETES)]
    with FaultProxy(emulator.url, faults) as proxy:
        env = {**os.environ, "STORAGE_EMULATOR_HOST": proxy.url}
        with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "deleting\n"
            proxy.plan.wait_until_triggered(30)
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert process.wait(30) == 0
            assert time.monotonic() - started < AT_MOST
