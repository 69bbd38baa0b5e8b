"""Looks at a session that somebody else has started, without handing its messages to Dagster."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dagster_pipes import PipesMessage
from gcf_pipes._shared.protocol import MAX_CHUNK_BYTES, SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._messages.parser import ChunkFormatError, parse_chunk, read_opened_extras

TIMEOUT: Final = 30.0
"""Seconds that each request to the bucket may take, with its retries."""


@dataclass(frozen=True)
class SessionFacts:
    """What the objects of a session say about it.

    Attributes:
        opened: Whether the function has opened the session.
        closes_with_request: Whether our runtime made the session, so that `closed` tells the outcome of the call.
        closed: Whether the function has closed the session.
        raised: Whether `closed` has an exception.
        cancelled: Whether the cancel marker exists.
        chunk_count: The number of the last chunk. If there is one in a session that is not opened, Dagster has claimed
            the session, so that a late delivery runs nothing.
    """

    opened: bool = False
    closes_with_request: bool = False
    closed: bool = False
    raised: bool = False
    cancelled: bool = False
    chunk_count: int = 0


def inspect_session(store: ObjectStore, prefix: SessionPrefix) -> SessionFacts:
    """Return what the bucket says about a session: one list, and GETs of its first and its last chunk.

    Raises:
        PipesStorageError: The bucket could not be read.
    """
    keys = store.list_keys(prefix.object_prefix, timeout=TIMEOUT)
    last = max((prefix.chunk_index(key) or 0 for key in keys), default=0)
    return read_facts(store, prefix, last, cancelled=prefix.cancel_key in keys)


def read_facts(store: ObjectStore, prefix: SessionPrefix, last: int, *, cancelled: bool) -> SessionFacts:
    """Return what the chunks of a session say about it: GETs of the first and the last one.

    Args:
        store: The bucket.
        prefix: The session's prefix.
        last: The number of its last chunk, or 0.
        cancelled: Whether the cancel marker exists.

    Raises:
        PipesStorageError: The bucket could not be read.
    """
    first = _read(store, prefix, 1) if last else []
    final = first if last == 1 else _read(store, prefix, last)
    opened = next((message["params"] or {} for message in first if message["method"] == "opened"), None)
    closed = next((message["params"] or {} for message in final if message["method"] == "closed"), None)
    return SessionFacts(
        opened=opened is not None,
        closes_with_request=read_opened_extras((opened or {}).get("extras")).get("closes_with_request", False),
        closed=closed is not None,
        raised=bool((closed or {}).get("exception")),
        cancelled=cancelled,
        chunk_count=last,
    )


def _read(store: ObjectStore, prefix: SessionPrefix, index: int) -> list[PipesMessage]:
    """Return the messages of a chunk, up to a bad line: reading the session will fail with that."""
    key = prefix.chunk_key(index)
    data = store.read(key, max_bytes=MAX_CHUNK_BYTES, timeout=TIMEOUT) if index else None
    messages: list[PipesMessage] = []
    with suppress(ChunkFormatError):
        messages.extend(parse_chunk(data or b"", f"gs://{prefix.bucket}/{key}"))
    return messages
