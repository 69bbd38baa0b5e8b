"""Small objects and lists come straight from the transport. What is not the expected answer, the library handles."""

import pytest
from gcf_pipes import PipesObjectTooLargeError

from dagster_gcf_pipes.local import Emulator
from tests.faults.plan import READ, Action, Corrupt, Fault, Status, Truncate, first
from tests.faults.proxy import FaultProxy
from tests.storage.servers import store_at

DATA = b"content " * 100


@pytest.mark.parametrize("action", [Corrupt(), Status(401), Truncate(10)], ids=lambda action: type(action).__name__)
def test_another_answer_than_the_object_leads_to_the_library(emulator: Emulator, bucket: str, action: Action) -> None:
    with FaultProxy(emulator.url, [Fault(READ, action, at=first(1))]) as proxy, store_at(proxy.url, bucket) as store:
        store.create("a/1.json", DATA, timeout=10)
        assert store.read("a/1.json", max_bytes=len(DATA), timeout=10) == DATA
        assert len([request for request in proxy.requests if request.kind == READ.kind]) == 2


@pytest.mark.parametrize("read", ["read", "read_here"])
def test_one_request_reads_an_object_or_finds_that_there_is_none(emulator: Emulator, bucket: str, read: str) -> None:
    with FaultProxy(emulator.url, []) as proxy, store_at(proxy.url, bucket) as store:
        store.create("a/ü ?#.json", DATA, timeout=10)
        assert getattr(store, read)("a/ü ?#.json", max_bytes=len(DATA), timeout=10) == DATA
        assert getattr(store, read)("a/2.json", max_bytes=len(DATA), timeout=10) is None
        assert len([request for request in proxy.requests if request.kind == READ.kind]) == 2
        with pytest.raises(PipesObjectTooLargeError, match="at most 799 bytes"):
            getattr(store, read)("a/ü ?#.json", max_bytes=len(DATA) - 1, timeout=10)


def test_names_are_listed_as_they_are(emulator: Emulator, bucket: str) -> None:
    with store_at(emulator.url, bucket) as store:
        names = ["a/1 &=?.json", "a/2+%20.json", "a/ü.json"]
        for name in [*names, "b/1.json"]:
            store.create(name, b"{}", timeout=10)
        page = store.list_page("a/", start="", timeout=10)
        assert (page.names, page.is_last) == (names, True)
