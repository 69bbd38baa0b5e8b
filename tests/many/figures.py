"""What the simulated platform counts: each request on the wire, and each execution of a function."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["POST", "LIST", "GET", "METADATA", "PUT", "DELETE", "BATCH", "BUCKET"]
"""A call of a function, a kind of request to the storage, or another request for a bucket."""


class WireRequest(NamedTuple):
    """A request as it arrived.

    Attributes:
        time: When it arrived (`time.monotonic`, which all processes of a machine share).
        kind: What it asks for.
        name: The object's name or the prefix. Of a batch, the number of its requests; of a call, the event's key.
    """

    time: float
    kind: Kind
    name: str


@dataclass
class Figures:
    """What was counted since the server's start, or since the last reset.

    Attributes:
        requests: All requests on the wire, in the order of their arrival.
        responses: The responses to calls, by status.
        executions: How often the function's code was started, by the event's key.
        sessions: How often the function's code was started, by the session's prefix in the bucket.
        connections: New TCP connections.
        running: Calls that run now.
        peak_running: The most calls that ran at once.
        cpu_seconds: The CPU seconds of the server.
    """

    requests: list[WireRequest] = field(default_factory=list)
    responses: Counter[int] = field(default_factory=Counter)
    executions: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    running: int = 0
    peak_running: int = 0
    cpu_seconds: float = 0.0

    @contextmanager
    def one_more_running(self) -> Iterator[None]:
        """Count a call that runs while the block runs."""
        self.running += 1
        self.peak_running = max(self.peak_running, self.running)
        try:
            yield
        finally:
            self.running -= 1

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Figures":
        return cls(
            **{
                **fields,
                "requests": [WireRequest(*request) for request in fields["requests"]],
                "responses": Counter({int(status): count for status, count in fields["responses"].items()}),
                "executions": Counter(fields["executions"]),
                "sessions": Counter(fields["sessions"]),
            }
        )

    def names(self, kind: Kind) -> list[str]:
        """Return the names in the requests of a kind, in the order of their arrival."""
        return [request.name for request in self.requests if request.kind == kind]

    def count(self, kind: Kind) -> int:
        """Return how many requests of a kind arrived."""
        return len(self.names(kind))

    def most_in_a_second(self, kind: Kind) -> int:
        """Return how many requests of a kind arrived in the busiest second, wherever it starts."""
        times = [request.time for request in self.requests if request.kind == kind]
        return max((bisect_left(times, time + 1.0) - index for index, time in enumerate(times)), default=0)
