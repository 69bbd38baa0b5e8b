"""Deletes many objects with one request. It is imported only when something is deleted."""

import re
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from google.api_core.exceptions import from_http_response  # noqa: TID253 - this module is imported late
from google.cloud.storage import Batch  # noqa: TID253

if TYPE_CHECKING:
    from google.cloud import storage

MAX_BATCH: Final = 100
"""Source: https://cloud.google.com/storage/docs/batch ("not more than 100 calls in a single batch request")."""
_NOT_FOUND: Final = 404
_PART: Final = re.compile("^Content-Type: application/http$", re.MULTILINE)


def delete_batch(client: "storage.Client", blobs: "Sequence[storage.Blob]", *, timeout: float) -> None:
    """Delete at most `MAX_BATCH` objects with one request. Objects that do not exist are skipped.

    Raises:
        GoogleAPICallError: The first error, of the request or of an object. The other objects are deleted.
    """
    with _Batch(client, raise_exception=False) as batch:
        for blob in blobs:
            blob.delete(retry=None, timeout=timeout)
    for response in batch.responses:
        if not response.ok and response.status_code != _NOT_FOUND:
            raise from_http_response(response)


class _Batch(Batch):  # type: ignore[misc]  # the library has no types
    """A batch that keeps its responses, and whose parts have an id: fake-gcs-server skips those without one.

    Sources: https://cloud.google.com/storage/docs/batch (`Content-ID` is optional),
        https://github.com/fsouza/fake-gcs-server/blob/v1.56.1/fakestorage/server.go (`handleBatchCall`).
    """

    responses: Sequence[Any] = ()

    def finish(self, *, raise_exception: bool = True) -> Sequence[Any]:
        """Send the batch."""
        self.responses = super().finish(raise_exception=raise_exception)
        return self.responses

    def _prepare_batch_request(self) -> tuple[dict[str, str], str, Any]:
        headers, body, timeout = super()._prepare_batch_request()
        ids = count()
        return headers, _PART.sub(lambda part: f"{part[0]}\nContent-ID: <{next(ids)}>", body), timeout
