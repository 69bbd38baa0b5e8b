"""The one place that talks to Cloud Storage, for both halves, and the one place that translates its errors.

Every call passes `retry=` and `timeout=` explicitly: google-cloud-storage changed their defaults between 2.x and 3.x.
"""

import base64
import functools
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from gcf_pipes._errors import (
    PipesBucketNotFoundError,
    PipesObjectExistsError,
    PipesObjectTooLargeError,
    PipesStorageError,
    PipesStorageForbiddenError,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer
    from google.api_core.exceptions import GoogleAPICallError
    from google.api_core.retry import Retry
    from google.auth.credentials import Credentials
    from google.cloud import storage

CONTENT_TYPE: Final = "application/json"
ATTEMPT_TIMEOUT: Final = (5.0, 30.0)
"""Connect and read timeout of one attempt, in seconds."""
_PERMISSIONS: Final = {
    "create": ("storage.objects.create", "roles/storage.objectCreator"),
    "list": ("storage.objects.list", "roles/storage.objectViewer"),
    "read": ("storage.objects.get` and `storage.objects.list", "roles/storage.objectViewer"),
    "delete": ("storage.objects.delete", "roles/storage.objectUser"),
}
"""The permission that each action needs, and the narrowest predefined role that has it.

Without `storage.objects.list` a read of an object that is not there yet is forbidden, and not a 404.
Source: https://cloud.google.com/storage/docs/access-control/iam-roles.
"""
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w.-]+\w")
"""In what Cloud Storage says of a caller who lacks a permission."""
PARALLEL_DELETES: Final = 8


def import_library() -> None:
    """Import google-cloud-storage now, and not when it is first needed."""
    from google.cloud import storage  # noqa: F401, PLC0415 - importing the package must not import a Google library


def create_client(credentials: "Credentials | None" = None) -> "storage.Client":
    """Create a Cloud Storage client with credentials, or the environment's own, or for `STORAGE_EMULATOR_HOST`.

    google-cloud-storage 3.x fetches the bucket's metadata in the background, at first and after every 404, to
    decorate its OpenTelemetry spans. Where those spans are off, that is twice the requests for nothing, and it asks for
    `storage.buckets.get`, so it is switched off by the library's own variable unless the user has set either.
    """
    if "ENABLE_GCS_PYTHON_CLIENT_OTEL_TRACES" not in os.environ:
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
    from google.cloud import storage  # noqa: PLC0415 - importing the package must not import a Google library

    # a project is needed only to create and to list buckets
    return storage.Client(project=None, credentials=credentials)


def client_getter(client: "storage.Client | None") -> "Callable[[], storage.Client]":
    """Return a function that gives the client, or creates one at its first call and gives the same ever after."""
    return (lambda: client) if client else functools.cache(create_client)


class ObjectStore:
    """The objects of one bucket.

    Args:
        bucket: The name of the bucket. It is not looked up: that would need `storage.buckets.get`.
        client: The client to use.
    """

    def __init__(self, bucket: str, client: "storage.Client") -> None:
        self.bucket = bucket
        self._client = client
        self._bucket = client.bucket(bucket)

    def create(self, key: str, data: bytes, *, timeout: float) -> None:
        """Create an object that must not exist yet, and retry transient errors for at most `timeout` seconds.

        The retry is safe: the precondition lets only one attempt create the object, and an attempt whose
        acknowledgement was lost is recognised by the content it left behind.

        Raises:
            PipesObjectExistsError: The object exists with other content.
            PipesBucketNotFoundError: The bucket does not exist.
            PipesStorageForbiddenError: `storage.objects.create` is missing.
            PipesStorageError: Anything else went wrong until the timeout had passed.
        """
        from google.api_core.exceptions import PreconditionFailed  # noqa: PLC0415 - as in create_client

        blob = self._bucket.blob(key)
        with self._translated_errors("create", key):
            try:
                blob.upload_from_string(
                    data,
                    content_type=CONTENT_TYPE,
                    if_generation_match=0,
                    retry=_retry(timeout),
                    timeout=ATTEMPT_TIMEOUT,
                )
            except PreconditionFailed as error:
                blob.reload(retry=_retry(timeout), timeout=ATTEMPT_TIMEOUT)
                if blob.md5_hash != _md5(data):
                    raise PipesObjectExistsError(
                        f"Expected to create gs://{self.bucket}/{key}, but it exists with other content: "
                        "another call has written to this session."
                    ) from error

    def read(self, key: str, *, max_bytes: int, timeout: float) -> bytes | None:
        """Read an object with a single GET, or return None if it does not exist.

        Raises:
            PipesObjectTooLargeError: The object has more than `max_bytes` bytes; no more of it is read.
            PipesStorageForbiddenError: `storage.objects.get` is missing.
            PipesStorageError: Anything else went wrong until `timeout` seconds had passed.
        """
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - as in create_client

        content = _BoundedBuffer(max_bytes, f"gs://{self.bucket}/{key}")
        with self._translated_errors("read", key):
            try:
                self._bucket.blob(key).download_to_file(content, retry=_retry(timeout), timeout=ATTEMPT_TIMEOUT)
            except NotFound:
                return None
        return content.getvalue()

    def list_keys(self, prefix: str, *, timeout: float) -> list[str]:
        """List the names of the objects that start with a prefix.

        Raises:
            PipesStorageForbiddenError: `storage.objects.list` is missing.
            PipesStorageError: Anything else went wrong until `timeout` seconds had passed.
        """
        with self._translated_errors("list", prefix):
            blobs = self._client.list_blobs(self._bucket, prefix=prefix, retry=_retry(timeout), timeout=ATTEMPT_TIMEOUT)
            return [blob.name for blob in blobs]

    def delete(self, keys: Sequence[str], *, timeout: float) -> None:
        """Delete objects, several at a time. One that does not exist is none to delete.

        Raises:
            PipesStorageForbiddenError: `storage.objects.delete` is missing.
            PipesStorageError: Anything else went wrong with an object until `timeout` seconds had passed.
        """
        with ThreadPoolExecutor(PARALLEL_DELETES) as pool:
            for deletion in [pool.submit(self._delete, key, timeout) for key in keys]:
                deletion.result()

    def _delete(self, key: str, timeout: float) -> None:
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - as in create_client

        with self._translated_errors("delete", key), suppress(NotFound):
            self._bucket.blob(key).delete(retry=_retry(timeout), timeout=ATTEMPT_TIMEOUT)

    @contextmanager
    def _translated_errors(self, action: str, key: str) -> Iterator[None]:
        import requests  # noqa: PLC0415
        from google.api_core import exceptions  # noqa: PLC0415
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

        where = f"gs://{self.bucket}/{key}"
        try:
            yield
        except exceptions.NotFound as error:
            raise PipesBucketNotFoundError(
                f"Cannot {action} {where}: the bucket {self.bucket!r} does not exist. "
                "Check the bucket's name in the Dagster resource, and that it was created: "
                f"`gcloud storage buckets create gs://{self.bucket} --location=REGION`."
            ) from error
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            permission, role = _PERMISSIONS[action]
            raise PipesStorageForbiddenError(
                f"Cannot {action} {where}: permission denied. Cloud Storage says: {_said(error)} "
                f"Grant this identity `{permission}` on the bucket {self.bucket!r}, for instance with `{role}`: "
                f"`gcloud storage buckets add-iam-policy-binding gs://{self.bucket} "
                f"--member={_member(_said(error))} --role={role}`."
            ) from error
        except (
            exceptions.GoogleAPICallError,
            exceptions.RetryError,
            GoogleAuthError,
            requests.RequestException,
        ) as error:
            raise PipesStorageError(f"Cannot {action} {where}: {error}") from error


class _BoundedBuffer(io.BytesIO):
    """Takes no more than so many bytes of an object."""

    def __init__(self, max_bytes: int, uri: str) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._uri = uri

    def write(self, data: "Buffer") -> int:
        if self.tell() + memoryview(data).nbytes > self._max_bytes:
            raise PipesObjectTooLargeError(f"Expected {self._uri} to have at most {self._max_bytes:,} bytes.")
        return super().write(data)


def _said(error: "GoogleAPICallError") -> str:
    """Return what Cloud Storage says in an error; an upload's or download's has the whole response as its message."""
    try:
        return str(error.response.json()["error"]["message"])
    except (AttributeError, ValueError, LookupError, TypeError):  # there is no response, or it is no JSON
        return str(error.message).strip()


def _member(message: str) -> str:
    """Return the IAM member whom an error of Cloud Storage names; not every one does."""
    email = _EMAIL.search(message)
    if email is None:
        return "MEMBER"
    kind = "serviceAccount" if email[0].endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{email[0]}"


def _retry(timeout: float) -> "Retry":
    from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415 - as in create_client

    retry: Retry = DEFAULT_RETRY.with_delay(initial=0.2, maximum=5.0, multiplier=2.0).with_timeout(timeout)
    return retry


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
