"""Many objects are deleted with few requests."""

import pytest
from gcf_pipes import PipesStorageRejectedError
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator
from tests.faults.plan import (
    DELETE,
    STORAGE_RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    Action,
    Fault,
    ResetAfter,
    Status,
    StatusOfEach,
    Truncate,
    first,
)
from tests.faults.proxy import FaultProxy
from tests.storage.servers import store_at

KEYS = [f"env=prod/ü?#%&+ {number % 3}/{number}.json" for number in range(250)]


@pytest.mark.every_emulator
def test_250_objects_are_deleted_with_three_requests(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    for key in [*KEYS[::10], "env=prod/kept.json"]:
        storage_client.bucket(bucket).blob(key).upload_from_string(b"{}")
    with FaultProxy(emulator.url) as proxy, store_at(proxy.url, bucket) as store:
        store.delete(KEYS, timeout=20)
        assert [request.kind for request in proxy.requests] == ["delete"] * 3
    assert [blob.name for blob in storage_client.list_blobs(bucket)] == ["env=prod/kept.json"]


@pytest.mark.parametrize(
    "action",
    [
        STORAGE_UNAVAILABLE,
        StatusOfEach(STORAGE_UNAVAILABLE),
        StatusOfEach(STORAGE_RATE_LIMITED),
        ResetAfter(),
        Truncate(100),
    ],
    ids=repr,
)
def test_a_batch_that_fails_is_sent_again(
    emulator: Emulator, bucket: str, storage_client: storage.Client, action: Action
) -> None:
    """If its response was lost, the objects are gone already."""
    storage_client.bucket(bucket).blob("a/2.json").upload_from_string(b"{}")
    with (
        FaultProxy(emulator.url, [Fault(DELETE, action, first(2), minimum=2)]) as proxy,
        store_at(proxy.url, bucket) as store,
    ):
        store.delete(["a/1.json", "a/2.json"], timeout=20)
    assert list(storage_client.list_blobs(bucket)) == []


@pytest.mark.parametrize("answer", [Status(200, b"Log in"), Status(400), StatusOfEach(Status(400))], ids=repr)
def test_an_answer_that_is_not_transient_ends_the_deletion(emulator: Emulator, bucket: str, answer: Action) -> None:
    with (
        FaultProxy(emulator.url, [Fault(DELETE, answer)]) as proxy,
        store_at(proxy.url, bucket) as store,
        pytest.raises(PipesStorageRejectedError, match=r"Cannot delete gs://.*/a/1\.json and others"),
    ):
        store.delete(["a/1.json", "a/2.json"], timeout=20)
