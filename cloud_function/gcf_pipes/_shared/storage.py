"""Accesses Cloud Storage for both halves, and translates its errors. No other module does.

Every call passes `retry=None` and a timeout. google-cloud-storage has several layers of retries, which differ between
uploads, downloads and versions, and none of them bounds a whole operation. `ObjectStore` does.
"""

import base64
import functools
import hashlib
import http.client
import io
import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gcf_pipes._shared.deadline import Deadline
from gcf_pipes._shared.errors import (
    PipesBucketNotFoundError,
    PipesCredentialsError,
    PipesObjectExistsError,
    PipesObjectTooLargeError,
    PipesRequestError,
    PipesStorageError,
    PipesStorageForbiddenError,
    PipesStorageRejectedError,
)
from gcf_pipes._shared.in_process import in_process_request
from gcf_pipes._shared.once import Once
from gcf_pipes._shared.own_logs import own_logs
from gcf_pipes._shared.pages import MAX_PAGE, Page
from gcf_pipes._shared.protocol import CLOUD, EMULATOR

if TYPE_CHECKING:
    from datetime import datetime

    from _typeshed import ReadableBuffer as Buffer
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.credentials import Credentials
    from google.cloud import storage

    from gcf_pipes._shared.json_api import JsonApi

_Result = TypeVar("_Result")

CONTENT_TYPE: Final = "application/json"
EMULATOR_VARIABLE: Final = "STORAGE_EMULATOR_HOST"
"""Names an emulator. Source: https://github.com/googleapis/python-storage (`_helpers.STORAGE_EMULATOR_ENV_VAR`)."""
_STORAGES: Final = {EMULATOR: "an emulator of Cloud Storage", CLOUD: "Cloud Storage itself"}
_AUTH_ERROR_STATUS: Final = re.compile(r"""(?:["']code["']|[Ss]tatus): ?(\d{3})""")
TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Source: https://cloud.google.com/storage/docs/retry-strategy#retryable."""
_PERMISSIONS: Final = {
    "create": ("storage.objects.create", "roles/storage.objectCreator"),
    "list": ("storage.objects.list", "roles/storage.objectViewer"),
    "read": ("storage.objects.get` and `storage.objects.list", "roles/storage.objectViewer"),
    "delete": ("storage.objects.delete", "roles/storage.objectUser"),
    "look up": ("storage.buckets.get", "roles/storage.legacyBucketReader"),
}
"""The permission that each action needs, and the narrowest predefined role that has it.

Without `storage.objects.list`, reading an object that does not exist yet returns 403 instead of 404.
Source: https://cloud.google.com/storage/docs/access-control/iam-roles.
"""
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w.-]+\w")
"""Finds the caller in the message of a permission error."""
PARALLEL_DELETES: Final = 8
"""Batches that are deleted at the same time."""


def import_library() -> None:
    """Import google-cloud-storage now instead of at its first use."""
    from google.cloud import storage  # noqa: F401


def uses_emulator() -> bool:
    """Whether `STORAGE_EMULATOR_HOST` names an emulator, which needs no credentials. Empty means unset."""
    return bool(os.environ.get(EMULATOR_VARIABLE))


def emulator_of(client: "storage.Client | None") -> str:
    """Return the URL of the emulator that a client uses, or an empty text: it is http, or the variable names it.

    Args:
        client: The client. None: `create_client` creates it.
    """
    variable = os.environ.get(EMULATOR_VARIABLE, "")
    endpoint = str(getattr(client, "api_endpoint", "")) if client else variable  # a test's fake may have none
    return endpoint if endpoint == variable or endpoint.startswith("http://") else ""


def storage_of(client: "storage.Client | None") -> str | None:
    """Return whether a client uses an `EMULATOR` or the `CLOUD`, or None if it does not say.

    Args:
        client: The client. None: `create_client` creates it.
    """
    if client and not hasattr(client, "api_endpoint"):
        return None
    return EMULATOR if emulator_of(client) else CLOUD


def check_same_storage(client: "storage.Client | None", of_dagster: str | None) -> None:
    """Refuse a call of a Dagster that reads messages from an emulator while a client writes to the cloud, or reversed.

    Args:
        client: The client. None: `create_client` creates it.
        of_dagster: What Dagster uses. It is untrusted; what is not known is not checked.

    Raises:
        PipesRequestError: They differ.
    """
    own = storage_of(_in_this_request(client))
    if own and of_dagster in _STORAGES and own != of_dagster:
        raise PipesRequestError(
            f"Dagster uses {_STORAGES[of_dagster]}, and this function uses {_STORAGES[own]}. Dagster would not see its "
            f"messages.\nFix: Set {EMULATOR_VARIABLE} to the same emulator for Dagster and for the function, or for "
            "neither, and start both again. `dagster-gcf-pipes dev` sets it for both."
        )


def _check_emulator_variable() -> None:
    """Refuse an address without a scheme, which libraries of other languages accept, and a slash that Python's doubles.

    A doubled slash makes fake-gcs-server answer that the bucket does not exist.
    """
    value = os.environ.get(EMULATOR_VARIABLE, "")
    if value and not re.fullmatch(r"https?://.*[^/]", value, re.IGNORECASE):
        scheme = "" if "://" in value else "http://"
        raise PipesStorageRejectedError(
            f"Expected {EMULATOR_VARIABLE} to be a URL without a slash at its end, got {value!r}.\n"
            f"Fix: Set it to '{scheme}{value.rstrip('/')}'."
        )


def create_client(credentials: "Credentials | None" = None) -> "storage.Client":
    """Create a Cloud Storage client with these credentials, or the environment's, or for `STORAGE_EMULATOR_HOST`.

    Raises:
        PipesCredentialsError: No usable credentials were found.
        PipesStorageRejectedError: `STORAGE_EMULATOR_HOST` is not a URL.
    """
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage

    _check_emulator_variable()
    try:
        # a project is only needed to create and to list buckets
        with own_logs():
            return storage.Client(project=None, credentials=credentials)
    except (GoogleAuthError, ValueError, OSError) as error:
        _keep_only_texts(error)
        raise PipesCredentialsError(f"Cannot use Cloud Storage: {_no_credentials(error)}") from error


def _fetch_no_bucket_metadata(client: "storage.Client") -> None:
    """Keep google-cloud-storage 3.x from fetching the bucket's metadata in the background.

    It does that first and after every 404, to annotate its OpenTelemetry spans. Without OpenTelemetry this doubles the
    requests for nothing, and it needs `storage.buckets.get`. The library's own switch is an environment variable of the
    whole process. Instead, this removes the client's cache of the metadata; the library works without it.
    """
    if "ENABLE_GCS_PYTHON_CLIENT_OTEL_TRACES" not in os.environ and hasattr(client, "_bucket_metadata_cache"):
        client._bucket_metadata_cache = None  # noqa: SLF001


def client_getter(client: "storage.Client | None") -> "Callable[[], storage.Client]":
    """Return a getter of the client. If there is none, it creates one for all threads."""
    created: Once[storage.Client] = Once()
    return lambda: _in_this_request(client) or created.get(create_client)


def _in_this_request(client: "storage.Client | None") -> "storage.Client | None":
    """Return the client, or that of a test that serves the request in process."""
    test = in_process_request()
    return test.storage_client if test else client


class ObjectStore:
    """The objects of one bucket.

    Args:
        bucket: The name of the bucket. It is not looked up: that would need `storage.buckets.get`.
        client: The client to use. From now on it fetches no bucket metadata.

    Raises:
        PipesStorageRejectedError: No bucket can have that name.
    """

    def __init__(self, bucket: str, client: "storage.Client") -> None:
        _fetch_no_bucket_metadata(client)
        self.bucket = bucket
        self._client = client
        self._emulator = emulator_of(client)
        try:
            self._bucket = client.bucket(bucket)
        except (ValueError, LookupError) as error:  # a LookupError if it is empty
            raise PipesStorageRejectedError(f"Expected the name of a bucket, got {bucket!r}.") from error

    def create(self, key: str, data: bytes, *, timeout: float) -> None:
        """Create an object that must not exist yet. Retry after transient errors for at most `timeout` seconds.

        The retry is safe: the precondition lets only one attempt create the object. If the response to that attempt
        was lost, the next one recognizes its content.

        Raises:
            PipesObjectExistsError: The object exists with other content, or with content that cannot be compared.
            PipesBucketNotFoundError: The bucket does not exist.
            PipesStorageForbiddenError: `storage.objects.create` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """
        from google.api_core.exceptions import PreconditionFailed

        def attempt(remaining: float) -> None:
            blob = self._bucket.blob(key)
            try:
                blob.upload_from_string(
                    data, content_type=CONTENT_TYPE, if_generation_match=0, retry=None, timeout=remaining
                )
            except PreconditionFailed as error:
                if self._stored_md5(blob, remaining) != _md5(data):
                    raise PipesObjectExistsError(
                        f"Expected to create {self._uri(key)}, but it exists with other content: "
                        "another call has written to this session."
                    ) from error

        self._operate("create", key, timeout, attempt)

    def check_create(self, key: str, *, timeout: float) -> None:
        """Check that an object could be created in a bucket that exists, without creating it.

        The precondition asks for a generation of an object that does not exist, so it cannot hold. It is assumed that
        Cloud Storage checks the permission first: the documentation does not say so. An emulator may ignore the
        precondition: do not call this for one. Source: https://cloud.google.com/storage/docs/request-preconditions.

        Args:
            key: The name of an object that does not exist.
            timeout: How long to retry after transient errors, in seconds.

        Raises:
            PipesStorageForbiddenError: `storage.objects.create` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        def attempt(remaining: float) -> None:
            with suppress(NotFound, PreconditionFailed):
                self._bucket.blob(key).upload_from_string(b"", if_generation_match=1, retry=None, timeout=remaining)

        self._operate("create", key, timeout, attempt)

    def lifecycle_rules(self, *, timeout: float) -> list[dict[str, Any]]:
        """Return the bucket's lifecycle rules, as the JSON API has them.

        Raises:
            PipesBucketNotFoundError: The bucket does not exist.
            PipesStorageForbiddenError: `storage.buckets.get` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """

        def attempt(remaining: float) -> list[dict[str, Any]]:
            bucket = self._client.get_bucket(self.bucket, retry=None, timeout=remaining)
            return [dict(rule) for rule in bucket.lifecycle_rules]

        return self._operate("look up", "", timeout, attempt)

    def read(self, key: str, *, max_bytes: int, timeout: float) -> bytes | None:
        """Read an object with a single GET, or return None if it does not exist.

        Raises:
            PipesObjectTooLargeError: The object has more than `max_bytes` bytes; no more of it is read.
            PipesStorageForbiddenError: `storage.objects.get` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """
        return self._operate("read", key, timeout, functools.partial(self._read, key, max_bytes))

    def read_here(self, key: str, *, max_bytes: int, timeout: float) -> bytes | None:
        """Read an object as `read` does, but in this thread, and without a retry.

        That takes half of the CPU. But `timeout` bounds only the time between two bytes, and nothing bounds a name
        lookup. So somebody else has to watch the thread.
        """
        with own_logs(), self._translated_errors("read", key, timeout):
            return self._read(key, max_bytes, timeout)

    def _read(self, key: str, max_bytes: int, timeout: float) -> bytes | None:
        from google.api_core.exceptions import NotFound

        status, data = self._json_api.read(key, max_bytes=max_bytes, timeout=timeout)
        if data is not None or status == http.HTTPStatus.NOT_FOUND:
            return data
        content = _BoundedBuffer(max_bytes, self._uri(key))
        try:
            self._bucket.blob(key).download_to_file(content, retry=None, timeout=timeout)
        except NotFound:
            return None
        return content.getvalue()

    @functools.cached_property
    def _json_api(self) -> "JsonApi":
        from gcf_pipes._shared.json_api import JsonApi

        return JsonApi(self._client, self.bucket)

    def list_keys(self, prefix: str, *, timeout: float) -> list[str]:
        """List the names of the objects that start with a prefix.

        Raises:
            PipesStorageForbiddenError: `storage.objects.list` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """

        def attempt(remaining: float) -> list[str]:
            blobs = self._client.list_blobs(self._bucket, prefix=prefix, retry=None, timeout=remaining)
            return [blob.name for blob in blobs]

        return self._operate("list", prefix, timeout, attempt)

    def list_created(self, prefix: str, *, timeout: float) -> "dict[str, datetime]":
        """List the names of the objects that start with a prefix, and when each was created.

        Raises:
            PipesStorageForbiddenError: `storage.objects.list` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """

        def attempt(remaining: float) -> "dict[str, datetime]":
            blobs = self._client.list_blobs(self._bucket, prefix=prefix, retry=None, timeout=remaining)
            return {blob.name: blob.time_created for blob in blobs}

        return self._operate("list", prefix, timeout, attempt)

    def list_page(self, prefix: str, *, start: str, timeout: float) -> Page:
        """List, with a single request, the first objects that start with a prefix, from a name on.

        Raises:
            PipesStorageForbiddenError: `storage.objects.list` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """

        def attempt(remaining: float) -> Page:
            if page := self._json_api.list_page(prefix, start=start, timeout=remaining):
                return page
            options = {"prefix": prefix, "start_offset": start, "retry": None, "timeout": remaining}
            blobs = self._client.list_blobs(self._bucket, page_size=MAX_PAGE, **options)
            names = [blob.name for blob in next(blobs.pages, ())]
            return Page(names, is_last=blobs.next_page_token is None)

        return self._operate("list", prefix, timeout, attempt)

    def use_connections(self, count: int) -> None:
        """Keep so many connections to Cloud Storage open, in place of 10, unless the client has adapters of its own.

        Source: https://github.com/googleapis/python-storage/issues/253.
        """
        from requests.adapters import HTTPAdapter

        http = self._client._http  # noqa: SLF001
        for prefix, adapter in [*http.adapters.items()]:
            if type(adapter) is HTTPAdapter:  # `mount` would take out the others for a moment, and threads may use them
                http.adapters[prefix] = HTTPAdapter(pool_maxsize=count)

    def delete(self, keys: Sequence[str], *, timeout: float) -> None:
        """Delete objects within `timeout` seconds, in batches. Objects that do not exist are skipped.

        Stop at the first error: it usually concerns all objects.

        Raises:
            PipesStorageForbiddenError: `storage.objects.delete` is missing.
            PipesStorageError: `timeout` seconds have passed, or another of its subclasses.
        """
        from gcf_pipes._shared.deletion import MAX_BATCH

        deadline = Deadline(timeout)
        batches = [keys[start : start + MAX_BATCH] for start in range(0, len(keys), MAX_BATCH)]
        shares = [batches[start::PARALLEL_DELETES] for start in range(min(PARALLEL_DELETES, len(batches)))]
        with self._translated_errors("delete", _name(keys), timeout):
            deadline.run_all([functools.partial(self._delete, share, deadline) for share in shares])

    def _delete(self, batches: Sequence[Sequence[str]], deadline: Deadline) -> None:
        from gcf_pipes._shared.deletion import delete_batch

        def attempt(keys: Sequence[str], remaining: float) -> None:
            delete_batch(self._client, [self._bucket.blob(key) for key in keys], timeout=remaining)

        for keys in batches:
            self._retried("delete", _name(keys), deadline, functools.partial(attempt, keys))

    def _stored_md5(self, blob: "storage.Blob", timeout: float) -> str:
        """Return the hash of an object that has just been found to exist."""
        from google.api_core.exceptions import Forbidden, NotFound, Unauthorized

        try:
            blob.reload(retry=None, timeout=timeout)
        except NotFound as error:
            raise PipesObjectExistsError(
                f"Expected to create {self._uri(blob.name)}, but it existed, and was deleted a moment later: "
                "another call has written to this session."
            ) from error
        except (Forbidden, Unauthorized) as error:
            raise PipesObjectExistsError(
                f"Expected to create {self._uri(blob.name)}, but it exists. Whether another call has written to this "
                "session is unknown, because this identity may not read the object. "
                f"Cloud Storage says: {_error_message(error)}\n{self._fix('read', _error_message(error))}"
            ) from error
        return str(blob.md5_hash)

    def _operate(self, action: str, key: str, timeout: float, attempt: Callable[[float], _Result]) -> _Result:
        """Make attempts until one succeeds, an error is not transient, or `timeout` seconds have passed."""
        deadline = Deadline(timeout)
        with self._translated_errors(action, key, timeout):
            return deadline.run(lambda: self._retried(action, key, deadline, attempt))

    def _retried(self, action: str, key: str, deadline: Deadline, attempt: Callable[[float], _Result]) -> _Result:
        from google.api_core.retry import exponential_sleep_generator

        delays = exponential_sleep_generator(initial=0.2, maximum=5.0, multiplier=2.0)
        while True:
            try:
                with self._translated_errors(action, key, deadline.timeout):
                    return attempt(deadline.remaining)
            except PipesStorageError as error:
                if not error.transient or not deadline.sleep(delays):
                    raise

    @contextmanager
    def _translated_errors(self, action: str, key: str, timeout: float) -> Iterator[None]:
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except exceptions.NotFound as error:
            raise PipesBucketNotFoundError(
                f"Cannot {action} {self._uri(key)}: the bucket {self.bucket!r} does not exist.\n"
                "Fix: Check the bucket's name in the Dagster resource, and that it was created: "
                f"`gcloud storage buckets create gs://{self.bucket} --location=REGION`. {self._emulator_hint}"
            ) from error
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise PipesStorageForbiddenError(
                f"Cannot {action} {self._uri(key)}: permission denied. Cloud Storage says: {_error_message(error)}\n"
                f"{self._fix(action, _error_message(error))}"
            ) from error
        except _library_errors() as error:
            cannot = f"Cannot {action} {self._uri(key)}"
            transient = _is_transient(error)
            _keep_only_texts(error)
            if transient:
                reason = "the connection was refused" if _was_refused(error) else _error_text(error)
                problem = f"{cannot} within {round(timeout, 1):g} s: {reason}"
                raise PipesStorageError(f"{problem}{self._emulator_fix(error)}") from error
            if isinstance(error, GoogleAuthError):
                raise PipesCredentialsError(f"{cannot}: {_no_credentials(error)}") from error
            if isinstance(error, json.JSONDecodeError):
                raise PipesStorageRejectedError(
                    f"{cannot}: the response is not JSON, so it is not Cloud Storage's.\n"
                    "Fix: Check that no proxy or login page responds in its place."
                ) from error
            raise PipesStorageRejectedError(f"{cannot}: {_error_text(error)}") from error

    def _fix(self, action: str, text: str) -> str:
        permission, role = _PERMISSIONS[action]
        return (
            f"Fix: Grant this identity `{permission}` on the bucket {self.bucket!r}, for example with `{role}`: "
            f"`gcloud storage buckets add-iam-policy-binding gs://{self.bucket} "
            f"--member={_member(text)} --role={role}`."
        )

    @property
    def _emulator_hint(self) -> str:
        if not self._emulator:
            return f"For an emulator, set {EMULATOR_VARIABLE}."
        return (
            f"This is the emulator {self._emulator}: {EMULATOR_VARIABLE} must be the same for Dagster and for the "
            "function. `dagster-gcf-pipes dev` sets it for both, and creates the bucket."
        )

    def _emulator_fix(self, error: Exception) -> str:
        if not self._emulator or not _was_refused(error):
            return ""
        return (
            f"\nFix: Start the emulator {self._emulator}, or set {EMULATOR_VARIABLE} to the URL of the emulator that "
            "runs. `dagster-gcf-pipes dev` does both."
        )

    def _uri(self, key: str) -> str:
        return f"gs://{self.bucket}/{key}"


def _name(keys: Sequence[str]) -> str:
    return f"{next(iter(keys), '')}{' and others' if len(keys) > 1 else ''}"


class _BoundedBuffer(io.BytesIO):
    """Accepts at most `max_bytes` bytes of an object."""

    def __init__(self, max_bytes: int, uri: str) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._uri = uri

    def write(self, data: "Buffer") -> int:
        if self.tell() + memoryview(data).nbytes > self._max_bytes:
            raise PipesObjectTooLargeError(f"Expected {self._uri} to have at most {self._max_bytes:,} bytes.")
        return super().write(data)


@functools.cache
def _media_errors() -> tuple[Any, Any]:
    """The errors of uploads and downloads: an unexpected response, and corrupt content."""
    try:
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # since 3.0
    except ImportError:
        from google.resumable_media import DataCorruption, InvalidResponse
    return InvalidResponse, DataCorruption


@functools.cache
def _library_errors() -> tuple[type[Exception], ...]:
    """All errors of google-cloud-storage and of the libraries that it uses.

    Those of requests are `OSError`s. An invalid URL, name or JSON raises a `ValueError` in all of them.
    """
    import urllib3
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    others = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
    return (GoogleAPIError, GoogleAuthError, *_media_errors(), *others)


@functools.cache
def _transient_errors() -> tuple[type[Exception], ...]:
    """The errors after which the same request may succeed, whatever their text."""
    import requests
    import urllib3
    from google.auth.exceptions import TransportError

    _, data_corruption = _media_errors()
    of_requests = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
    )
    of_urllib3 = (
        urllib3.exceptions.DecodeError,
        urllib3.exceptions.PoolError,
        urllib3.exceptions.ProtocolError,
        urllib3.exceptions.SSLError,
        urllib3.exceptions.TimeoutError,
    )
    of_python = (
        ConnectionError,
        TimeoutError,
        http.client.BadStatusLine,
        http.client.IncompleteRead,
        http.client.ResponseNotReady,
    )
    return (data_corruption, TransportError, *of_requests, *of_urllib3, *of_python)


def _is_transient(error: Exception) -> bool:
    from google.auth.exceptions import GoogleAuthError

    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return False
    if (status := _status(error)) is not None:
        return status in TRANSIENT_STATUSES
    if isinstance(error, GoogleAuthError) and error.retryable:  # set for responses, not for connection errors
        return True
    return isinstance(error, _transient_errors()) or isinstance(error.__cause__, _transient_errors())


def _status(error: Any) -> int | None:
    """Return an error's HTTP status, if it has one."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    invalid_response, _ = _media_errors()
    if isinstance(error, invalid_response):
        return int(error.response.status_code)
    if isinstance(error, GoogleAuthError):
        return auth_error_status(error)
    return error.code if isinstance(error, GoogleAPICallError) else None


def auth_error_status(error: BaseException) -> int | None:
    """Return the HTTP status in the text of a google-auth error, for example of one from impersonation."""
    status = _AUTH_ERROR_STATUS.search(str(error))
    return int(status[1]) if status else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause or context, and so on."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _was_refused(error: Exception) -> bool:
    return any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error))


def _error_message(error: "GoogleAPICallError") -> str:
    """Return Cloud Storage's own message. The error of an upload or download has the whole response as its message."""
    try:
        return str(error.response.json()["error"]["message"])
    except (AttributeError, ValueError, LookupError, TypeError):  # no response, or not the JSON of an error
        return str(error.message).strip()


def _error_text(error: BaseException) -> str:
    """Return an error's text. For google-auth's errors only their strings: a response in them may contain a token."""
    from google.auth.exceptions import GoogleAuthError

    if not isinstance(error, GoogleAuthError):
        return str(error) or type(error).__name__
    texts = [_error_text(arg) if isinstance(arg, Exception) else arg for arg in error.args]
    return " ".join(text for text in texts if isinstance(text, str)) or type(error).__name__


def _keep_only_texts(error: BaseException) -> None:
    """Reduce google-auth's errors in the chain to their text, because a traceback prints the whole chain.

    This changes the errors themselves. With a copy as the cause, the original would stay in the context.
    """
    from google.auth.exceptions import GoogleAuthError

    for each in [*_causes(error)]:
        if isinstance(each, GoogleAuthError):
            each.args = (_error_text(each),)
            each.__cause__ = each.__context__ = None


def _no_credentials(error: BaseException) -> str:
    return (
        f"there are no credentials that Google accepts. google-auth says: {_error_text(error).strip().rstrip('.')}.\n"
        "Fix: Deploy the function with a service account that exists and is enabled. On another machine, log in with "
        "`gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the path of a key file. For "
        "an emulator, set STORAGE_EMULATOR_HOST."
    )


def _member(message: str) -> str:
    """Return the IAM member in an error message of Cloud Storage, or a placeholder."""
    email = _EMAIL.search(message)
    if email is None:
        return "MEMBER"
    kind = "serviceAccount" if email[0].endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{email[0]}"


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
