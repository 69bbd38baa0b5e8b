"""Each error of Google's libraries and of those beneath becomes one of ours, which says what to do."""

import http.client
import importlib.util
import inspect
import json
import os
import ssl
import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import flask
import google.api_core.exceptions
import google.auth.exceptions
import pytest
import requests
import trustme
import urllib3.exceptions
from dagster_pipes import decode_param, encode_param
from gcf_pipes import (
    PipesBucketNotFoundError,
    PipesCredentialsError,
    PipesObjectExistsError,
    PipesStorageError,
    PipesStorageForbiddenError,
    PipesStorageRejectedError,
)
from gcf_pipes._shared.exceptions import describe_exception
from gcf_pipes._shared.storage import ObjectStore, create_client
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError, TransportError
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator, run_function
from tests.conftest import FUNCTIONS
from tests.faults.plan import (
    DELETE,
    EVERY,
    LIST,
    METADATA,
    READ,
    STORAGE_PRECONDITION_FAILED,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Fault,
    Status,
    StatusOfEach,
    Truncate,
    after,
    storage_error,
    storage_forbidden,
)
from tests.faults.proxy import FaultProxy
from tests.quotes import Quote
from tests.serving import serving
from tests.sessions import bootstrap, call
from tests.storage.servers import store_at

KEY = "some/1.json"
CORRUPT = Status(200, b"not what was stored", (("X-Goog-Hash", "crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA=="),))
STORAGE_3 = importlib.util.find_spec("google.cloud.storage.exceptions") is not None
NOT_RAISED = {
    "InvalidPathError",  # of the transfer manager
    "AsyncRestUnsupportedParameterError",  # of the asynchronous transport
    "MessageDefect",  # `http.client`'s and `email`'s, which urllib3's module has imported
    "NotImplementedError",
}


def store_that_raises(error: Exception) -> ObjectStore:
    """A store whose credentials raise an error before each request."""

    class Broken(Credentials):
        def before_request(self, *args: Any) -> None:
            raise error

        def refresh(self, request: Any) -> None: ...

    credentials = Broken()  # type: ignore[no-untyped-call]  # google-auth has few types
    return ObjectStore(
        "some-bucket", storage.Client("local", credentials, client_options={"api_endpoint": "http://[::1]:9"})
    )


# ---------------------------------------------------------------------------------------------------- translated errors


def error_classes(*modules: ModuleType) -> list[type[Exception]]:
    classes = [value for module in modules for value in vars(module).values() if inspect.isclass(value)]
    errors = {cls for cls in classes if issubclass(cls, Exception) and not issubclass(cls, Warning)}
    if STORAGE_3:  # it has exceptions of its own, with those of the library that it has replaced as their bases
        errors = {cls for cls in errors if not cls.__module__.startswith("google.resumable_media")}
    return sorted((cls for cls in errors if cls.__name__ not in NOT_RAISED), key=str)


LIBRARIES = error_classes(
    google.api_core.exceptions,
    google.auth.exceptions,
    importlib.import_module("google.cloud.storage.exceptions" if STORAGE_3 else "google.resumable_media"),
    requests.exceptions,
    urllib3.exceptions,
    http.client,
    ssl,
)


def instance_of(cls: type[Exception]) -> Exception:
    error = cls.__new__(cls, "what it says")
    if hasattr(error, "__dict__"):
        response = requests.Response()
        response.status_code = 400
        fields: dict[str, Any] = {"_errors": [], "_details": [], "_response": None, "_retryable": False, "_cause": None}
        vars(error).update(fields, message="what it says", response=response, length=b"", expected=1)
        vars(error)["partial"] = b"" if cls is http.client.IncompleteRead else 0
    return error


@pytest.mark.parametrize("cls", LIBRARIES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_library_s_exception_becomes_ours(cls: type[Exception]) -> None:
    store = store_that_raises(instance_of(cls))

    def cause(timeout: float) -> BaseException | None:
        with pytest.raises(PipesStorageError) as caught:
            store.list_keys("x", timeout=timeout)
        return caught.value.__cause__

    assert any(isinstance(cause(timeout), cls) for timeout in (0.3, 10))  # the latter only on a busy machine


@pytest.mark.parametrize("retryable", [False, True])
def test_a_printed_error_shows_no_token(*, retryable: bool) -> None:
    """google-auth's errors have the whole answer among their arguments, and so in what Python prints of them."""
    answer = {"id_token": "a secret", "error": "internal"}
    error = RefreshError(RefreshError("No access token in response.", answer), answer, retryable=retryable)
    error.__context__ = RefreshError("Earlier.", answer)
    with pytest.raises(PipesStorageError) as caught:
        store_that_raises(error).list_keys("x", timeout=0.05)
    printed = "".join(traceback.format_exception(caught.value)) + json.dumps(describe_exception(caught.value))
    assert "RefreshError: No access token in response." in printed
    assert "a secret" not in printed


def test_a_200_of_somebody_else_is_not_retried(emulator: Emulator, bucket: str, quote: Quote) -> None:
    page = Status(200, b"<html>Log in to the guest network</html>", (("Content-Type", "text/html"),))
    faults = [Fault(LIST, page), Fault(UPLOAD, page)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store:
        with pytest.raises(PipesStorageRejectedError):
            store.list_keys("", timeout=5)
        with pytest.raises(PipesStorageRejectedError) as caught:
            store.create(KEY, b"{}", timeout=5)
    quote("storage_rejected", str(caught.value))


@pytest.mark.parametrize(
    "url",
    ["http://a..b", "http://[::1", "ftp://127.0.0.1", "http://127.0.0.1:99999", "127.0.0.1:80", "http://", "http://*"],
)
def test_a_malformed_endpoint_is_not_retried(url: str) -> None:
    with store_at(url) as store, pytest.raises(PipesStorageRejectedError):
        store.read(KEY, max_bytes=10, timeout=5)


@pytest.mark.parametrize("bucket", ["", "-x-", "_"])
def test_a_malformed_bucket_name_is_refused(bucket: str) -> None:
    with pytest.raises(PipesStorageRejectedError, match="Expected the name of a bucket"), store_at("http://x", bucket):
        pass


@pytest.mark.parametrize("key", ["\ud800", "a/\udfff.json"])
def test_a_key_with_lone_surrogates_is_not_retried(emulator: Emulator, bucket: str, key: str) -> None:
    """An upload sends it as JSON, which can escape it; Cloud Storage itself refuses it then."""
    with store_at(emulator.url, bucket) as store:
        for operate in (
            lambda: store.read(key, max_bytes=10, timeout=5),
            lambda: store.list_keys(key, timeout=5),
            lambda: store.delete([key], timeout=5),
        ):
            with pytest.raises(PipesStorageRejectedError):
                operate()


def test_an_untrusted_certificate_is_not_retried() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with (
        serving(flask.Flask("storage"), context) as port,
        store_at(f"https://127.0.0.1:{port}") as store,
        pytest.raises(PipesStorageRejectedError, match="certificate"),
    ):
        store.read(KEY, max_bytes=10, timeout=20)


@pytest.mark.parametrize("code", [400, 404, 405, 409, 411, 412, 413, 416, 501])
def test_a_permanent_error_status_is_not_retried(emulator: Emulator, bucket: str, code: int) -> None:
    faults = [Fault(LIST, storage_error(code, "reason", "no"), at=EVERY)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store:
        with pytest.raises(PipesStorageError) as caught:
            store.list_keys("", timeout=20)
        assert not caught.value.transient
        assert len(proxy.requests) == 1


# -------------------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("action", [CORRUPT, Truncate(10), STORAGE_UNAVAILABLE], ids=repr)
def test_a_download_that_fails_twice_is_read_whole(emulator: Emulator, bucket: str, action: Any) -> None:
    """Nothing of a failed download is left in what is returned."""
    data = b"x" * 100_000
    faults = [Fault(READ, action, at={1, 2}, minimum=2)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store:
        store.create(KEY, data, timeout=10)
        assert store.read(KEY, max_bytes=len(data), timeout=20) == data


def test_a_malformed_bucket_name_is_quoted(quote: Quote) -> None:
    with pytest.raises(PipesStorageRejectedError) as caught, store_at("http://x", "-x-"):
        pass
    quote("not_a_bucket_name", str(caught.value))


def test_a_lasting_corruption_is_a_storage_error(emulator: Emulator, bucket: str) -> None:
    with FaultProxy(emulator.url, [Fault(READ, CORRUPT, at=EVERY)]) as proxy, store_at(proxy.url, bucket) as store:
        with pytest.raises(PipesStorageError, match="within 1 s: Checksum mismatch") as caught:
            store.read(KEY, max_bytes=100, timeout=1)
        assert caught.value.transient


def test_a_call_survives_a_corrupt_download(emulator: Emulator, bucket: str) -> None:
    """The context loader reads in the same way."""
    context = decode_param(bootstrap(bucket, "some", extras={"rows": 3})["DAGSTER_PIPES_CONTEXT"])["data"]
    with store_at(emulator.url, bucket) as store:
        store.create("some/context.json", json.dumps(context).encode(), timeout=10)
    params = encode_param({"bucket": bucket, "key": "some/context.json"})
    event = {"mode": "echo", "DAGSTER_PIPES_CONTEXT": params}
    with (
        FaultProxy(emulator.url, [Fault(READ, CORRUPT)]) as proxy,
        run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=proxy.url) as function,
    ):
        assert call(function.url, bucket, event).json()["extras"] == {"rows": 3}


# ---------------------------------------------------------------------------------------------------------------- a 412


def test_a_412_for_an_unreadable_object_says_that_it_exists(emulator: Emulator, bucket: str, quote: Quote) -> None:
    faults = [
        Fault(UPLOAD, STORAGE_PRECONDITION_FAILED),
        Fault(METADATA, storage_forbidden("storage.objects.get")),
    ]
    with (
        FaultProxy(emulator.url, faults) as proxy,
        store_at(proxy.url, bucket) as store,
        pytest.raises(PipesObjectExistsError) as caught,
    ):
        store.create(KEY, b"{}", timeout=5)
    quote("object_exists_and_cannot_be_read", str(caught.value))


def test_a_412_for_a_deleted_object_says_that_it_existed(emulator: Emulator, bucket: str, quote: Quote) -> None:
    with (
        FaultProxy(emulator.url, [Fault(UPLOAD, STORAGE_PRECONDITION_FAILED)]) as proxy,
        store_at(proxy.url, bucket) as store,
        pytest.raises(PipesObjectExistsError) as caught,
    ):
        store.create(KEY, b"{}", timeout=5)
    quote("object_existed", str(caught.value))


def test_a_comparison_after_a_412_is_retried(emulator: Emulator, bucket: str, quote: Quote) -> None:
    faults = [
        Fault(UPLOAD, STORAGE_PRECONDITION_FAILED, at=after(1)),
        Fault(METADATA, STORAGE_UNAVAILABLE, at={1, 2}, minimum=2),
    ]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store:
        store.create(KEY, b"{}", timeout=10)
        store.create(KEY, b"{}", timeout=10)
        with pytest.raises(PipesObjectExistsError) as caught:
            store.create(KEY, b"[]", timeout=10)
    quote("object_exists", str(caught.value))


def test_a_forbidden_deletion_ends_at_once(emulator: Emulator, bucket: str) -> None:
    """Cloud Storage answers 200 to the batch, and 403 to each request in it."""
    faults = [Fault(DELETE, StatusOfEach(storage_forbidden("storage.objects.delete")), at=EVERY)]
    with FaultProxy(emulator.url, faults) as proxy, store_at(proxy.url, bucket) as store:
        with pytest.raises(PipesStorageForbiddenError, match="objectUser"):
            store.delete([f"a/{number}" for number in range(10_000)], timeout=20)
        assert len(proxy.requests) < 50


def test_a_bucket_that_does_not_exist_is_named(emulator: Emulator) -> None:
    with store_at(emulator.url, "not-there") as store, pytest.raises(PipesBucketNotFoundError, match="'not-there'"):
        store.create(KEY, b"{}", timeout=5)


# -------------------------------------------------------------------------------------------------- credentials, client


def test_the_error_of_refused_credentials_shows_no_token(quote: Quote) -> None:
    error = RefreshError("invalid_grant: Bad Request", {"access_token": "secret"})
    with pytest.raises(PipesCredentialsError) as caught:
        store_that_raises(error).create(KEY, b"{}", timeout=20)
    quote("storage_credentials", str(caught.value))


@pytest.mark.parametrize("error", [TransportError("away"), RefreshError("internal_failure", retryable=True)], ids=repr)
def test_a_transient_failure_to_get_a_token_is_transient(error: Exception) -> None:
    with pytest.raises(PipesStorageError) as caught:
        store_that_raises(error).create(KEY, b"{}", timeout=0.5)
    assert caught.value.transient


@pytest.mark.parametrize("content", [None, "no JSON", "{}", '{"type": "service_account"}'])
def test_a_client_needs_usable_credentials(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "key.json"
    if content is not None:
        key_file.write_text(content)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    with pytest.raises(PipesCredentialsError, match=r"google-auth says: .*key\.json"):
        create_client()


def test_a_function_without_credentials_says_so(bucket: str, tmp_path: Path) -> None:
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing.json")}
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url="", env=env) as function:
        response = call(function.url, bucket, {"mode": "ok"})
    assert response.status_code == 500
    assert response.headers["Dagster-Pipes-Error"] == "storage_credentials"
    assert "missing.json" in response.json()["error"]["message"]


@pytest.mark.parametrize("create", [create_client, partial(storage.Client, "local")], ids=["ours", "the user's"])
def test_a_client_requests_only_objects_and_keeps_the_environment(
    emulator: Emulator, bucket: str, monkeypatch: pytest.MonkeyPatch, create: Callable[[], storage.Client]
) -> None:
    """google-cloud-storage 3.x asks for the bucket in the background, at first and after every 404."""
    with FaultProxy(emulator.url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        before = dict(os.environ)
        with closing(create()) as client:
            store = ObjectStore(bucket, client)
            for number in range(20):
                assert store.read(f"a/{number}.json", max_bytes=10, timeout=5) is None
            store.create(KEY, b"{}", timeout=5)
            store.list_keys("a/", timeout=5)
        assert dict(os.environ) == before
        assert [request.kind for request in proxy.requests] == ["read"] * 20 + ["upload", "list"]
