"""Batches of requests to Cloud Storage: several requests in one, and their responses in one.

Source: https://cloud.google.com/storage/docs/batch.
"""

import uuid
from collections.abc import Iterable, Mapping
from email import message_from_bytes
from typing import Final

import requests

BATCH_PATH: Final = "/batch/storage/v1"


def split_batch(content_type: str, body: bytes) -> list[requests.PreparedRequest]:
    """Return the requests in a batch, without their headers and bodies.

    Args:
        content_type: The `Content-Type` of the batch, which has the boundary.
        body: The body of the batch.
    """
    parts = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body).get_payload()
    request_lines = [str(part.get_payload()).split(maxsplit=2) for part in parts if not isinstance(part, str)]
    return [requests.Request(method, url).prepare() for method, url, _ in request_lines]


def join_responses(responses: Iterable[requests.Response]) -> tuple[Mapping[str, str], bytes]:
    """Return the headers and the body of the response to a batch."""
    boundary = f"batch_{uuid.uuid4().hex}"
    parts = [
        f"--{boundary}\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {response.status_code} {response.reason}\r\n"
        f"Content-Type: application/json\r\n\r\n{response.text}\r\n"
        for response in responses
    ]
    return {"Content-Type": f"multipart/mixed; boundary={boundary}"}, f"{''.join(parts)}--{boundary}--".encode()
