"""What was seen of one call: the response, and the objects in the bucket."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from gcf_pipes._shared.protocol import SessionPrefix

from dagster_gcf_pipes._http import AnsweredBy, Attempt


@dataclass(frozen=True)
class Answer:
    """The response to one delivery of a call, or why there is none.

    Attributes:
        attempt: The record of the delivery, which says who answered.
        headers: The headers of the response. Their names are in lower case.
        body: The body of the response.
        seconds: How long it took.
    """

    attempt: Attempt
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0

    @property
    def status(self) -> int | None:
        """The HTTP status, or None without a response."""
        return self.attempt.status

    @property
    def is_from_function(self) -> bool:
        """Whether the user's code has run, as the headers say."""
        return self.attempt.answered_by is AnsweredBy.FUNCTION

    @property
    def is_duplicate(self) -> bool:
        """Whether the function says that another delivery has the session."""
        return self.attempt.answered_by is AnsweredBy.DUPLICATE

    @property
    def json(self) -> Any:
        """The body as JSON, or None if it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def description(self) -> str:
        """What came, in a few words."""
        if self.status is None:
            return f"no response ({self.attempt.error})"
        names = ("dagster-pipes-error", "dagster-pipes-chunk-count")
        headers = "".join(f", {name.title()}: {self.headers[name]}" for name in names if name in self.headers)
        return f"HTTP {self.status}{headers} with the body {self.body[:200].decode('utf-8', errors='replace')!r}"


@dataclass(frozen=True)
class Session:
    """One session after its call.

    Attributes:
        prefix: Its prefix in the bucket.
        answer: The response.
        chunks: The content of each chunk, by number.
        created: When each chunk was created, by number; of the clock of Cloud Storage.
    """

    prefix: SessionPrefix
    answer: Answer
    chunks: Mapping[int, bytes]
    created: Mapping[int, datetime]

    @cached_property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The messages in order. Lines that are no messages are left out: `chunk-format` names them."""
        return [message for _, message in self.numbered_messages]

    @property
    def numbered_messages(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The messages in order, with the numbers of their chunks."""
        for number, data in sorted(self.chunks.items()):
            for line in data.splitlines():
                if (message := _message(line)) is not None:
                    yield number, message

    @property
    def methods(self) -> list[str]:
        """The methods of the messages, in order."""
        return [message["method"] for message in self.messages]

    def params_of(self, method: str) -> list[dict[str, Any]]:
        """The params of the messages of a method, in order."""
        messages = (message for message in self.messages if message["method"] == method)
        return [params if isinstance(params := message.get("params"), dict) else {} for message in messages]

    @property
    def logged(self) -> list[str]:
        """The texts of the log lines."""
        return [str(params.get("message")) for params in self.params_of("log")]

    @property
    def opened_extras(self) -> dict[str, Any]:
        """What `opened` says."""
        extras = next(iter(self.params_of("opened")), {}).get("extras")
        return extras if isinstance(extras, dict) else {}

    @property
    def closed_params(self) -> dict[str, Any] | None:
        """The params of `closed`, or None if there is no `closed`."""
        return next(iter(self.params_of("closed")), None)

    @property
    def exception(self) -> Mapping[str, Any] | None:
        """The exception in `closed`."""
        exception = (self.closed_params or {}).get("exception")
        return exception if isinstance(exception, dict) else None

    @property
    def uri(self) -> str:
        """Where its objects are."""
        return self.prefix.uri

    def chunk_uri(self, number: int) -> str:
        """Where a chunk is."""
        return f"gs://{self.prefix.bucket}/{self.prefix.chunk_key(number)}"


def _message(line: bytes) -> Mapping[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("method"), str) else None
