"""Turns the content of a chunk into Pipes messages."""

import json
from collections.abc import Iterator
from typing import cast, get_args

from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD, Method, PipesMessage

_METHODS: tuple[str, ...] = get_args(Method)
_KEYS = {PIPES_PROTOCOL_VERSION_FIELD, "method", "params"}


class ChunkFormatError(ValueError):
    """A line of a chunk is not a Pipes message."""


def parse_chunk(data: bytes, uri: str) -> Iterator[PipesMessage]:
    """Yield the messages of a chunk in order; the ones before a bad line are yielded before it is complained about.

    Args:
        data: The content of the object.
        uri: The `gs://` URI of the object, for the error text.

    Raises:
        ChunkFormatError: A line is not a message of the Pipes protocol, of the version that is installed here.
    """
    for number, line in enumerate(data.splitlines(), start=1):
        yield _parse_message(line, f"line {number} of {uri}")


def _parse_message(line: bytes, where: str) -> PipesMessage:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ChunkFormatError(f"Expected a Pipes message as JSON in {where}, got something else: {error}") from error
    if not isinstance(message, dict) or not message.keys() >= _KEYS:
        raise ChunkFormatError(f"Expected a JSON object with the keys {sorted(_KEYS)} in {where}, got {line[:200]!r}.")
    if message[PIPES_PROTOCOL_VERSION_FIELD] != PIPES_PROTOCOL_VERSION or message["method"] not in _METHODS:
        raise ChunkFormatError(
            f"Expected a message of version {PIPES_PROTOCOL_VERSION} of the Pipes protocol, with one of the methods "
            f"{_METHODS}, in {where}, got {line[:200]!r}. Install the same version of dagster-pipes on both sides."
        )
    return cast("PipesMessage", message)
