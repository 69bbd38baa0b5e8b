"""The proxy enforces preconditions, and completes resumable uploads, where an emulator does not."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core.exceptions import PreconditionFailed

from local_stack.emulators import Emulator
from tests.faults import (
    UPLOAD,
    Duplicate,
    Fault,
    FaultProxy,
    ResetAfter,
)
from tests.faults.both_ends import RETRY, TIMEOUT, kinds, storage_bucket

pytestmark = pytest.mark.every_emulator


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
