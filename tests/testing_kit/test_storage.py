"""The bucket in memory behaves as an emulator does, as far as this package can tell."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from gcf_pipes import PipesObjectExistsError, PipesObjectTooLargeError
from gcf_pipes._shared.storage import ObjectStore
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator
from dagster_gcf_pipes.testing._storage import MemoryStorage
from tests.quotes import Quote

LARGE = bytes(range(256)) * (40 * 1024)
"""10 MiB. google-cloud-storage uploads more than 8 MiB in a resumable session."""


@pytest.fixture(params=["in memory", "in an emulator"])
def store(request: pytest.FixtureRequest, bucket: str, storage_client: storage.Client) -> ObjectStore:
    in_memory = request.param == "in memory"
    return ObjectStore(bucket, MemoryStorage().client() if in_memory else storage_client)


@pytest.mark.parametrize("data", [b"", b"\n", b"--\r\n\r\n--", LARGE], ids=["empty", "a line", "delimiters", "large"])
def test_an_object_is_read_as_it_was_created(store: ObjectStore, data: bytes) -> None:
    store.create("a b/ü?#%/1.json", data, timeout=30)
    assert store.read("a b/ü?#%/1.json", max_bytes=len(data), timeout=30) == data


@pytest.mark.parametrize("data", [b"first", LARGE], ids=["small", "large"])
def test_an_object_is_created_once(store: ObjectStore, emulator: Emulator, data: bytes) -> None:
    if not emulator.honours_preconditions:
        pytest.skip("this emulator does not honour preconditions")
    store.create("1.json", data, timeout=30)
    store.create("1.json", data, timeout=30)  # as after a lost acknowledgement
    with pytest.raises(PipesObjectExistsError):
        store.create("1.json", data + b"!", timeout=30)
    assert store.read("1.json", max_bytes=1 << 30, timeout=30) == data


def test_a_missing_object_is_none(store: ObjectStore) -> None:
    assert store.read("1.json", max_bytes=1, timeout=30) is None


def test_an_object_above_the_limit_is_refused(store: ObjectStore, quote: Quote) -> None:
    store.create("1.json", bytes(1001), timeout=30)
    with pytest.raises(PipesObjectTooLargeError) as caught:
        store.read("1.json", max_bytes=1000, timeout=30)
    quote("object_too_large", str(caught.value))


def test_the_list_has_the_names_below_a_prefix(store: ObjectStore) -> None:
    for name in ("b/2.json", "b/10.json", "ab/1.json", "b"):
        store.create(name, b"", timeout=30)
    assert store.list_keys("b/", timeout=30) == ["b/10.json", "b/2.json"]


def test_deleted_objects_are_gone(store: ObjectStore) -> None:
    store.create("1.json", b"", timeout=30)
    store.delete(["1.json", "2.json"], timeout=30)
    assert store.list_keys("", timeout=30) == []


def test_one_of_many_claims_wins() -> None:
    store = ObjectStore("in-memory", MemoryStorage().client())

    def claims(number: int) -> bool:
        try:
            store.create("1.json", f"{number}".encode(), timeout=30)
        except PipesObjectExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claims, range(32))) == 1


def test_buckets_are_apart() -> None:
    client = MemoryStorage().client()
    ObjectStore("one", client).create("1.json", b"", timeout=30)
    assert ObjectStore("two", client).list_keys("", timeout=30) == []


def test_what_is_not_implemented_says_so() -> None:
    with pytest.raises(Exception, match=r"501 .* Cloud Storage in memory does not implement POST /storage/v1/b"):
        MemoryStorage().client().create_bucket("new", retry=None)
