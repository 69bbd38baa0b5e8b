"""The message reader of one session whose messages are chunks in a bucket."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Final

from dagster_pipes import PipesParams
from gcf_pipes._shared.protocol import BUCKET_PARAM, KEY_PREFIX_PARAM, SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._messages.session_reader import SessionReader, TakeMessage

MAX_MISSING_CHUNKS: Final = 1000
"""How many missing chunks are searched: a response may claim that the function wrote any number."""
LIST_TIMEOUT: Final = 30.0
"""Seconds to retry the list of a session's objects."""


class ChunkReader(SessionReader):
    """Reads the chunks of one session. A subclass fetches them.

    Args:
        store: The bucket.
        prefix: The session's prefix in the bucket.
        include_stdio_in_messages: Whether to ask the external process to send what it prints.
        take_partitions: Takes materializations of single partitions, or None if the step has no use for them.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: SessionPrefix,
        *,
        include_stdio_in_messages: bool,
        take_partitions: TakeMessage | None = None,
    ) -> None:
        super().__init__(include_stdio_in_messages=include_stdio_in_messages, take_partitions=take_partitions)
        self._store = store
        self._prefix = prefix

    @property
    def deletable_keys(self) -> Sequence[str]:
        """The names of the handled chunks, without the first.

        The first chunk is the claim. Without it, a late delivery of the call would run the user's code again.
        """
        return [self._prefix.chunk_key(index) for index in range(2, self._record.chunk_count + 1)]

    @abstractmethod
    def end_writing(self, chunk_count: int | None, *, timeout: float, deadline: float = 0.0) -> None:
        """Announce that nobody will write another message, or that nobody waits for it. The reader then ends.

        Args:
            chunk_count: How many chunks there are, or None if that is not known.
            timeout: If the count is not known: seconds to poll for further chunks. Those in the bucket then are read.
            deadline: Until when to retry while Cloud Storage is unavailable (`time.monotonic`); at least a minute.
        """

    @property
    def _params(self) -> PipesParams:
        return {BUCKET_PARAM: self._prefix.bucket, KEY_PREFIX_PARAM: self._prefix.path, **super()._params}

    def no_messages_debug_text(self) -> str:
        """Tell where the reader expected messages, and from what."""
        return (
            f"Attempted to read messages from {self._prefix.uri}. Expected the function's entry point to be "
            "decorated with `gcf_pipes.pipes_function`, or `gcf_pipes.PipesCloudStorageMessageWriter` or "
            "`dagster_pipes.PipesGCSMessageWriter` to be passed to `open_dagster_pipes` in the external process."
        )

    def _handle_chunk(self, index: int, data: bytes) -> None:
        """Hand the messages of the next chunk to Dagster.

        Raises:
            Exception: As `_handle_lines` does.
        """
        if self._handle_lines(data, f"gs://{self._prefix.bucket}/{self._prefix.chunk_key(index)}"):
            self._update(chunk_count=index)

    def _find_missing(self, chunk_count: int) -> tuple[int, ...]:
        """Return the numbers of chunks that were written and are not in the bucket. The reader stops at the first."""
        keys = self._store.list_keys(self._prefix.object_prefix, timeout=LIST_TIMEOUT)
        stored = {index for key in keys if (index := self._prefix.chunk_index(key))}
        written = max(chunk_count, *stored, 0)
        missing = (index for index in range(1, written + 1) if index not in stored)
        return tuple(islice(missing, MAX_MISSING_CHUNKS))
