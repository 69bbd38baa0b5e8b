"""What is known of one session from its messages."""

from dataclasses import dataclass, field
from typing import Final

from dagster_pipes import PipesException
from gcf_pipes._shared.counting import plural
from gcf_pipes._shared.halves import Half
from gcf_pipes._shared.protocol import ClosedResponse, OpenedExtras, Usage

MAX_NAMED_CHUNKS: Final = 20


@dataclass(frozen=True)
class SessionRecord:
    """What the message reader saw of the session.

    Attributes:
        opened: Whether `opened` came.
        opened_extras: What `opened` said about the execution.
        has_output: Whether a part of the function's output came.
        closed: Whether `closed` came.
        exception: The exception in `closed`, or None.
        usage: What the request used, as `closed` said.
        response: The function's own response, if `closed` had it.
        chunk_count: How many chunks were read and handled.
        message_count: How many messages arrived. Log lines count one by one, also those that share an entry.
        missing_chunks: Numbers of the chunks or log entries that did not arrive, although they or a later one were
            written.
        parts: What the messages arrive in: "chunk" or "log entry".
        place: Where those are.
        silent_for: If the reader gave the function up: how long it showed no sign of life, in seconds. Otherwise 0.
        failure: The error that stopped the reading, or None.
    """

    opened: bool = False
    opened_extras: OpenedExtras = field(default_factory=OpenedExtras)
    has_output: bool = False
    closed: bool = False
    exception: PipesException | None = None
    usage: Usage = field(default_factory=Usage)
    response: ClosedResponse | None = None
    chunk_count: int = 0
    message_count: int = 0
    missing_chunks: tuple[int, ...] = ()
    parts: str = "chunk"
    place: str = "the bucket"
    silent_for: float = 0.0
    failure: Exception | None = None

    @property
    def closes_with_request(self) -> bool:
        """Whether our runtime made the session, so that `closed` tells the outcome of the call."""
        return self.opened_extras.get("closes_with_request", False)

    @property
    def function(self) -> Half | None:
        """What the function says about itself, or None."""
        return Half.parse(self.opened_extras.get("protocol"), self.opened_extras.get("version"))

    @property
    def done(self) -> bool:
        """Whether no further message can come: reading has failed, or a session of our runtime is closed."""
        return self.failure is not None or (self.closed and self.closes_with_request)


def describe_missing(missing: tuple[int, ...], record: SessionRecord) -> str:
    """Name the chunks or log entries that are missing."""
    place = record.place
    if len(missing) == 1:
        return f"{record.parts} {missing[0]} is not in {place}"
    more = f" and {len(missing) - MAX_NAMED_CHUNKS} more" if len(missing) > MAX_NAMED_CHUNKS else ""
    return f"{plural(record.parts)} {', '.join(map(str, missing[:MAX_NAMED_CHUNKS]))}{more} are not in {place}"
