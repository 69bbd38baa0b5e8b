"""What a client of the storage sees: the same of the simulated one as of an emulator."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
import requests
from gcf_pipes import PipesBucketNotFoundError, PipesObjectExistsError
from gcf_pipes._shared.storage import ObjectStore
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud import storage

from tests.many.conftest import Stack, Stacks
from tests.many.http_messages import Request
from tests.many.storage_api import StorageApi, Upload

NAMES = ["a", "a/", "a/1.json", "a/2.json", "a/10.json", "a/b/c", "b", "b c", "b%2F", "ä/1", "ab", "\uffff/1", "😀/1"]

_BATCH_PART = re.compile(r"Content-ID: <([^>]+)>.*?HTTP/1.1 (\d+)", re.IGNORECASE | re.DOTALL)


def bucket_of(stack: Stack) -> storage.Bucket:
    return stack.storage.bucket(stack.bucket)


def fill(stacks: Stacks, names: list[str]) -> None:
    for stack in stacks:
        for name in names:
            bucket_of(stack).blob(name).upload_from_string(name.encode())


def pages_of(stack: Stack, page_size: int | None, **options: str) -> tuple[list[list[str]], list[str]]:
    """Return the names of the objects in each page, and all prefixes."""
    blobs = stack.storage.list_blobs(stack.bucket, page_size=page_size, **options)
    pages = [[blob.name for blob in page] for page in blobs.pages]
    return pages, sorted(blobs.prefixes)


def errors_of(actions: Iterator[Callable[[], object]]) -> Iterator[type[Exception]]:
    for action in actions:
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the tests compare the classes
            action()
        yield raised.type


@pytest.mark.parametrize("data", [b"", b"a line\n", b"\r\n--==x==\r\n\r\n", bytes(range(256)) * 4096])
def test_an_object_is_stored_and_read(stacks: Stacks, data: bytes) -> None:
    def see(stack: Stack) -> list[Any]:
        bucket_of(stack).blob("a/1.json").upload_from_string(data, content_type="application/json")
        blob = bucket_of(stack).get_blob("a/1.json")
        assert blob
        assert abs(blob.time_created.timestamp() - blob.updated.timestamp()) < 1
        content = blob.download_as_bytes(checksum="md5"), blob.download_as_bytes(checksum="crc32c")
        return [content, blob.name, blob.bucket.name, blob.size, blob.md5_hash, blob.crc32c, blob.content_type]

    real, simulated = map(see, stacks)
    assert simulated[0] == (data, data)
    assert simulated == real


def test_a_read_has_the_headers_of_the_object(stacks: Stacks) -> None:
    fill(stacks, ["a/1"])

    def see(stack: Stack) -> dict[str, str]:
        url = f"{stack.storage_url}/download/storage/v1/b/{stack.bucket}/o/a%2F1?alt=media"
        headers = {name.lower(): value for name, value in requests.get(url, timeout=30).headers.items()}
        generation = headers.pop("x-goog-generation")
        assert int(generation) == bucket_of(stack).get_blob("a/1").generation
        return {name: value for name, value in headers.items() if name.startswith(("x-goog-", "content-"))}

    real, simulated = map(see, stacks)
    assert real.items() <= simulated.items()  # the real Cloud Storage sends more than the emulator


def test_an_object_is_created_once(stacks: Stacks) -> None:
    for stack in stacks:
        blob = bucket_of(stack).blob("a/1.json")
        blob.upload_from_string(b"first", if_generation_match=0)
        with pytest.raises(PreconditionFailed):
            blob.upload_from_string(b"second", if_generation_match=0)
        assert blob.download_as_bytes() == b"first"
        generation = bucket_of(stack).get_blob("a/1.json").generation
        blob.upload_from_string(b"third", if_generation_match=generation)
        assert bucket_of(stack).get_blob("a/1.json").generation > generation


def test_what_does_not_exist_is_not_found(stacks: Stacks) -> None:
    def actions(stack: Stack) -> Iterator[Callable[[], object]]:
        for bucket in (bucket_of(stack), stack.storage.bucket("no-such-bucket")):
            yield bucket.blob("none").reload
            yield bucket.blob("none").download_as_bytes
            yield bucket.blob("none").delete
        yield lambda: list(stack.storage.list_blobs("no-such-bucket"))
        yield lambda: stack.storage.get_bucket("no-such-bucket")
        yield lambda: stack.storage.bucket("no-such-bucket").blob("a").upload_from_string(b"")

    for stack in stacks:
        assert {*errors_of(actions(stack))} == {NotFound}
        with pytest.raises(Conflict):
            stack.storage.create_bucket(stack.bucket)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix": "a"},
        {"prefix": "a/"},
        {"prefix": "none"},
        {"delimiter": "/"},
        {"prefix": "a/", "delimiter": "/"},
        {"start_offset": "a/2.json"},
        {"start_offset": "a/10.jso", "end_offset": "b c"},
        {"prefix": "a", "start_offset": "a/1.json", "end_offset": "ab"},
        {"prefix": "ä"},
        {"start_offset": "~"},
    ],
    ids=str,
)
@pytest.mark.parametrize("page_size", [None, 1, 2, 5])
def test_a_list_has_the_same_objects_in_the_same_order(
    stacks: Stacks, options: dict[str, str], page_size: int | None
) -> None:
    fill(stacks, NAMES)

    real, simulated = (pages_of(stack, page_size, **options) for stack in stacks)
    assert [*chain(*simulated[0])] == [*chain(*real[0])]
    assert simulated[1] == real[1]
    if "delimiter" not in options:  # the emulator does not count prefixes
        assert simulated[0] == real[0]


def test_a_page_counts_objects_and_prefixes(stacks: Stacks) -> None:
    """Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list#parameters (`maxResults`)."""
    fill(stacks, NAMES)
    pages, prefixes = pages_of(stacks.simulated, 2, delimiter="/")
    assert pages == [["a"], ["ab", "b"], ["b c", "b%2F"], [], []]
    assert prefixes == ["a/", "ä/", "\uffff/", "😀/"]


def test_a_page_has_at_most_a_thousand_objects() -> None:
    """The emulator has no such limit. Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list."""
    api = StorageApi("http://localhost")
    api.operation(Request("POST", "/storage/v1/b", body=b'{"name": "messages"}')).perform()
    names = [f"run/{number}/1.json" for number in range(1003)]
    for name in names:
        api.put("messages", Upload(name, "text/plain", b""))

    def page(query: str) -> tuple[list[str], str]:
        fields = json.loads(api.operation(Request("GET", "/storage/v1/b/messages/o", query)).perform().body)
        return [item["name"] for item in fields["items"]], fields.get("nextPageToken", "")

    for query in ("", "maxResults=1001"):
        first, token = page(query)
        second, end = page(f"{query}&pageToken={token}")
        assert [*first, *second] == sorted(names)
        assert (len(first), end) == (1000, "")


def test_the_next_page_starts_after_the_last_object_whatever_is_created_and_deleted_meanwhile(stacks: Stacks) -> None:
    """The emulator's token names the next object: it misses one that is created before it."""
    fill(stacks, ["a", "b", "d"])
    stack = stacks.simulated
    pages = stack.storage.list_blobs(stack.bucket, page_size=2).pages
    assert [blob.name for blob in next(pages)] == ["a", "b"]
    bucket_of(stack).blob("c").upload_from_string(b"")
    bucket_of(stack).blob("b").delete()
    assert [blob.name for blob in next(pages)] == ["c", "d"]


def test_a_list_has_only_the_selected_fields(stacks: Stacks) -> None:
    """The emulator ignores `fields`."""
    stack = stacks.simulated
    fill(stacks, ["a/1", "a/2", "b"])

    def get(**query: str) -> Any:
        url = f"{stack.storage_url}/storage/v1/b/{stack.bucket}/o"
        return requests.get(url, params={"maxResults": "2", **query}, timeout=30).json()

    token = base64.urlsafe_b64encode(b"a/2\0").decode()
    assert get(fields="items(name,size),nextPageToken") == {
        "items": [{"name": "a/1", "size": "3"}, {"name": "a/2", "size": "3"}],
        "nextPageToken": token,
    }
    assert get(fields="items/name") == {"items": [{"name": "a/1"}, {"name": "a/2"}]}
    assert get(fields="prefixes,nextPageToken", delimiter="/") == {"prefixes": ["a/"]}
    assert {*get()} == {"kind", "items", "nextPageToken"}
    assert {*get()["items"][0]} >= {"name", "size", "timeCreated", "updated", "generation", "md5Hash", "crc32c"}


def test_a_deleted_object_is_gone(stacks: Stacks) -> None:
    fill(stacks, NAMES)
    for stack in stacks:
        for name in NAMES[::2]:
            bucket_of(stack).blob(name).delete()
        assert {blob.name for blob in stack.storage.list_blobs(stack.bucket)} == {*NAMES[1::2]}


def test_a_batch_deletes_objects_and_says_which_did_not_exist(stacks: Stacks) -> None:
    fill(stacks, NAMES)

    def see(stack: Stack) -> list[tuple[str, int]]:
        paths = [f"/storage/v1/b/{stack.bucket}/o/{name}" for name in ("a%2F1.json", "none", "%C3%A4%2F1")]
        parts = [
            f"--x\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\nDELETE {path} HTTP/1.1\r\n\r\n\r\n"
            for number, path in enumerate(paths)
        ]
        response = requests.post(
            f"{stack.storage_url}/batch/storage/v1",
            data="".join([*parts, "--x--"]),
            headers={"Content-Type": 'multipart/mixed; boundary="x"'},
            timeout=30,
        )
        response.raise_for_status()
        found = _BATCH_PART.findall(response.text)
        return [(content_id, 204 if status == "200" else int(status)) for content_id, status in found]  # the emulator

    real, simulated = map(see, stacks)
    assert simulated == real == [("response-0", 204), ("response-1", 404), ("response-2", 204)]
    assert [blob.name for blob in stacks.simulated.storage.list_blobs(stacks.simulated.bucket)] == sorted(
        {*NAMES} - {"a/1.json", "ä/1"}
    )


def test_the_client_deletes_a_hundred_objects_in_one_batch(stacks: Stacks) -> None:
    """The emulator refuses the full URLs that the client puts into a batch."""
    stack = stacks.simulated
    names = [f"ä/{number}" for number in range(101)]
    fill(stacks, names[:98])
    with stack.storage.batch(raise_exception=False) as batch:
        for name in names[:100]:
            bucket_of(stack).blob(name).delete()
    assert [response.status_code for response in batch._responses] == [204] * 98 + [404] * 2  # noqa: SLF001
    assert not list(stack.storage.list_blobs(stack.bucket))
    with pytest.raises(BadRequest), stack.storage.batch():
        bucket_of(stack).delete_blobs(names)


def test_our_store_does_the_same_on_both(stacks: Stacks) -> None:
    def see(stack: Stack) -> list[Any]:
        store = ObjectStore(stack.bucket, stack.storage)
        other = ObjectStore("no-such-bucket", stack.storage)
        store.create("a/1", b"x", timeout=30)
        store.create("a/1", b"x", timeout=30)  # its own content
        errors = errors_of(
            iter([lambda: store.create("a/1", b"y", timeout=30), lambda: other.create("a/1", b"y", timeout=30)])
        )
        seen: list[Any] = [
            [*errors],
            store.read("a/1", max_bytes=9, timeout=30),
            store.read("none", max_bytes=9, timeout=30),
        ]
        store.create("a/2", b"x", timeout=30)
        seen.append(store.list_keys("a/", timeout=30))
        store.delete(["a/1", "none"], timeout=30)
        return [*seen, store.list_keys("a/", timeout=30)]

    real, simulated = map(see, stacks)
    assert simulated == real
    assert simulated[0] == [PipesObjectExistsError, PipesBucketNotFoundError]
    assert simulated[1:] == [b"x", None, ["a/1", "a/2"], ["a/2"]]


def test_a_media_upload_names_the_object_in_its_url(stacks: Stacks) -> None:
    for stack in stacks:
        url = f"{stack.storage_url}/upload/storage/v1/b/{stack.bucket}/o"
        query = {"uploadType": "media", "name": "a/1", "ifGenerationMatch": "0"}
        statuses = [
            requests.post(url, params=query, data=b"x", headers={"Content-Type": "text/plain"}, timeout=30).status_code
            for _ in range(2)
        ]
        assert statuses == [200, 412]
        blob = bucket_of(stack).get_blob("a/1")
        assert (blob.content_type, blob.download_as_bytes()) == ("text/plain", b"x")
