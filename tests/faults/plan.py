"""Fault plans as data: which requests are struck, which of those it hits, and what happens to them.

    UPLOAD.of(r"/2\\.json$")     a match: requests of one kind, here for objects whose name has this pattern
    ResetAfter()                an action: what happens to a request that is struck
    Fault(match, action, at)    a fault: the action strikes those of the matching requests whose ordinals are in `at`

Nothing here opens a socket: an action tells `tests.faults.proxy`, through an `Exchange`, what to do.
"""

import json
import re
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Container
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from http.client import responses
from queue import SimpleQueue
from typing import Final, Literal, Protocol

Headers = tuple[tuple[str, str], ...]

# ------------------------------------------------------------------------------------------------ requests and replies


@dataclass(frozen=True)
class Request:
    """A request as the proxy received it.

    Attributes:
        method: The HTTP method.
        target: Path and query as they stood on the request line.
        path: The path, unquoted.
        query: The query, unquoted.
        headers: All headers.
        body: The body, decoded if it came in chunks.
        bucket: The bucket that a request to Cloud Storage names.
        object_name: The object that a request to Cloud Storage names, in its path, its query or its body.
        create_only: Whether it is an upload that must not replace an object (`ifGenerationMatch=0`).
    """

    method: str
    target: str
    path: str
    query: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    bucket: str | None = None
    object_name: str | None = None
    create_only: bool = False


@dataclass(frozen=True)
class Response:
    """An answer to a request.

    Attributes:
        status: The HTTP status.
        headers: All headers but those that the proxy sets itself (`Content-Length`, `Connection`).
        body: The whole body.
        reason: The text beside the status.
        keep_bytes: If given, the client gets this many bytes of the body, and then the connection ends.
    """

    status: int
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    reason: str = ""
    keep_bytes: int | None = None


class HangUp(Enum):
    """An end of the connection without an answer."""

    RESET = auto()
    CLOSE = auto()


Reply = Response | HangUp


class Exchange(Protocol):
    """What an action can do with the request that it strikes."""

    def forward(self) -> Response:
        """Deliver the request upstream and wait for the answer."""

    def deliver(self, after: float = 0.0) -> "Future[Response]":
        """Deliver the request upstream in another thread, so many seconds later, or when the plan is over.

        The delivery goes on when the client has had its reply, and the plan ends after it.
        """

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the plan is in force."""


# ------------------------------------------------------------------------------------------------------------- matches


@dataclass(frozen=True)
class Match:
    """Says which requests a fault is about.

    Attributes:
        kind: The name of this kind of request.
        methods: Regular expression of the whole method.
        path: Regular expression of the whole unquoted path.
        query: Regular expression that is searched in the unquoted query.
        object_name: Regular expression that is searched in the object's name, which a request then must have.
        status: The status that upstream must have answered, None if a request matches whatever its answer will be.
    """

    kind: str
    methods: str
    path: str
    query: str = ""
    object_name: str = ""
    status: int | None = None

    def of(self, object_name: str) -> "Match":
        """Return this match for those requests alone in whose object's name the pattern is found."""
        return replace(self, object_name=object_name)

    def answered(self, status: int) -> "Match":
        """Return this match for those requests alone that upstream has answered so.

        They have been delivered when they are struck, so that an action can do something to their answer alone: cut
        it, delay it, lose it. `READ.answered(200)` leaves out the looks for an object that is not there yet.
        """
        return replace(self, status=status)

    def matches(self, request: Request, answer: Response | None = None) -> bool:
        """Whether a request is of this kind, about such an object, and has that answer (none yet, if any will do)."""
        return bool(
            self.status == (answer.status if answer else None)
            and re.fullmatch(self.methods, request.method)
            and re.fullmatch(self.path, request.path, re.DOTALL)
            and re.search(self.query, request.query)
            and (not self.object_name or re.search(self.object_name, request.object_name or ""))
        )


_BUCKET: Final = r"(?:/storage/v1)?/b(?:/[^/]+)?"
_LIST: Final = r"(?:/storage/v1)?/b/[^/]+/o"
_OBJECT: Final = r"(?:/download)?(?:/storage/v1)?/b/[^/]+/o/.+"

UPLOAD: Final = Match("upload", "POST|PUT", r"/upload/.+")
"""An upload. A resumable one (over 8 MB, with the Python client) is one request to start and one or more to send."""
READ: Final = Match("read", "GET", _OBJECT, query=r"(?:^|&)alt=media(?:&|$)")
METADATA: Final = Match("metadata", "GET", _OBJECT, query=r"^(?!(?:.*&)?alt=media(?:&|$))")
LIST: Final = Match("list", "GET", _LIST)
DELETE: Final = Match("delete", "DELETE", _OBJECT)
BUCKET: Final = Match("bucket", ".+", _BUCKET)
BATCH: Final = Match("batch", "POST", r"/batch/.+")
CALL: Final = Match("call", "POST", r"(?!/upload/|/storage/|/batch/|/b/).*")
"""A call of the function: a POST that is not one to Cloud Storage."""
ANY: Final = Match("any", ".+", ".*")

_KINDS: Final = (UPLOAD, READ, METADATA, LIST, DELETE, BUCKET, BATCH, CALL)


def kind_of(request: Request) -> str:
    """The name of a request's kind, or "other"."""
    return next((match.kind for match in _KINDS if match.matches(request)), "other")


# ------------------------------------------------------------------------------------------------------------- actions


class Action(ABC):
    """What happens to a request that is struck."""

    @property
    def lasts(self) -> float:
        """For how many seconds from its first strike on it strikes every matching request; 0: as the ordinals say."""
        return 0.0

    @abstractmethod
    def play(self, exchange: Exchange) -> Reply:
        """Do it, and return what the client gets."""


@dataclass(frozen=True)
class Status(Action):
    """Answers an error instead of forwarding.

    Attributes:
        code: The HTTP status.
        body: The body.
        headers: The headers.
    """

    code: int
    body: bytes = b""
    headers: Headers = ()

    @property
    def response(self) -> Response:
        """The answer itself."""
        return Response(self.code, self.headers, self.body, responses.get(self.code, ""))

    def play(self, exchange: Exchange) -> Response:
        return self.response

    def after(self, within: float | None = None) -> "StatusAfter":
        """Return the same answer, but to a request that was processed."""
        return StatusAfter(self.code, self.body, self.headers, within)


@dataclass(frozen=True)
class StatusAfter(Action):
    """Forwards, and answers an error although the request was processed.

    Attributes:
        code: The HTTP status.
        body: The body.
        headers: The headers.
        within: If given, it answers after so many seconds, though the request is still being processed.
    """

    code: int
    body: bytes = b""
    headers: Headers = ()
    within: float | None = None

    def play(self, exchange: Exchange) -> Response:
        _await_delivery(exchange, self.within)
        return Status(self.code, self.body, self.headers).response


@dataclass(frozen=True)
class ResetBefore(Action):
    """Resets the connection; nothing is forwarded."""

    def play(self, exchange: Exchange) -> HangUp:
        return HangUp.RESET


@dataclass(frozen=True)
class ResetAfter(Action):
    """Forwards, and resets the connection when the request was processed: a lost acknowledgement.

    Attributes:
        within: If given, it resets after so many seconds, though the request is still being processed.
    """

    within: float | None = None

    def play(self, exchange: Exchange) -> HangUp:
        _await_delivery(exchange, self.within)
        return HangUp.RESET


@dataclass(frozen=True)
class Truncate(Action):
    """Forwards, and ends the connection before the response's body is complete.

    Attributes:
        keep_bytes: How many bytes of the body the client gets. The body must be longer: else nothing would be cut.
    """

    keep_bytes: int = 0

    def play(self, exchange: Exchange) -> Response:
        response = exchange.forward()
        if len(response.body) <= self.keep_bytes:
            raise ValueError(f"{self} cannot cut a body of {len(response.body)} bytes (HTTP {response.status}).")
        return replace(response, keep_bytes=self.keep_bytes)


@dataclass(frozen=True)
class Stall(Action):
    """Waits, and then ends the connection without an answer.

    Attributes:
        seconds: How long it waits. The end of the plan ends the wait.
        processed: Whether the request is forwarded and processed before.
    """

    seconds: float
    processed: bool = False

    def play(self, exchange: Exchange) -> HangUp:
        if self.processed:
            exchange.forward()
        exchange.wait(self.seconds)
        return HangUp.CLOSE


@dataclass(frozen=True)
class Delay(Action):
    """Waits, and then forwards.

    Attributes:
        seconds: How long it waits. The end of the plan ends the wait.
    """

    seconds: float

    def play(self, exchange: Exchange) -> Response:
        exchange.wait(self.seconds)
        return exchange.forward()


@dataclass(frozen=True)
class DelayAnswer(Action):
    """Forwards, waits, and then answers: a large response on a slow line.

    Attributes:
        seconds: How long it waits. The end of the plan ends the wait.
    """

    seconds: float

    def play(self, exchange: Exchange) -> Response:
        response = exchange.forward()
        exchange.wait(self.seconds)
        return response


@dataclass(frozen=True)
class Duplicate(Action):
    """Delivers the request twice.

    Attributes:
        concurrently: Both deliveries start at once, and the client gets its answer as soon as it is there, while the
            other delivery goes on. Otherwise the second one starts when the first is answered.
        answer: Which answer, in the order in which they came, the client gets.
    """

    concurrently: bool = False
    answer: Literal["first", "second"] = "first"

    def play(self, exchange: Exchange) -> Response:
        if self.concurrently:
            arrived: SimpleQueue[Future[Response]] = SimpleQueue()
            for delivery in (exchange.deliver(), exchange.deliver()):
                delivery.add_done_callback(arrived.put)
            first = arrived.get()
            return first.result() if self.answer == "first" else arrived.get().result()
        answers = {"first": exchange.forward(), "second": exchange.forward()}
        return answers[self.answer]


@dataclass(frozen=True)
class DeliverLate(Action):
    """Answers at once, and delivers the request later: it waits in a queue, or for its instance to start.

    Attributes:
        seconds: How much later. The end of the plan ends the wait, and the request is delivered then.
        answer: What the client gets, or None for a reset.
    """

    seconds: float
    answer: Status | None = None

    def play(self, exchange: Exchange) -> Reply:
        exchange.deliver(after=self.seconds)
        return self.answer.response if self.answer else HangUp.RESET


@dataclass(frozen=True)
class Away(Action):
    """Resets the connection of every matching request, from the first strike on until the time is over.

    Attributes:
        seconds: How long that is.
    """

    seconds: float

    @property
    def lasts(self) -> float:
        return self.seconds

    def play(self, exchange: Exchange) -> HangUp:
        return HangUp.RESET


@dataclass(frozen=True)
class Dead(Action):
    """Never answers, nor forwards, what matches from the first strike on until the time is over, also after that.

    Attributes:
        seconds: How long that is.
    """

    seconds: float

    @property
    def lasts(self) -> float:
        return self.seconds

    def play(self, exchange: Exchange) -> HangUp:
        exchange.wait(threading.TIMEOUT_MAX)
        return HangUp.CLOSE


def _await_delivery(exchange: Exchange, within: float | None) -> None:
    done, _ = wait([exchange.deliver()], within)
    for delivery in done:
        delivery.result()  # a request that could not be delivered was not processed either


# -------------------------------------------------------------------------------------------------------------- faults


def first(times: int) -> range:
    """The ordinals of the first `times` requests."""
    return range(1, times + 1)


def after(passed: int, times: int | None = None) -> range:
    """The ordinals of the `times` requests that follow the first `passed` ones, or of all that follow."""
    return range(passed + 1, sys.maxsize if times is None else passed + times + 1)


EVERY: Final = after(0)


@dataclass(frozen=True)
class Fault:
    """One fault of a plan.

    Where several faults of a plan would strike the same request, the first of them does; those that strike answers
    come after those that strike requests.

    Attributes:
        match: Which requests it is about.
        action: What happens to a request that it strikes.
        at: Which of the matching requests it strikes, the first being 1: `first(2)`, `after(3)`, `EVERY`, `{2, 5}`.
            All matching requests count, also those that another fault strikes.
        minimum: How often it must strike, or the plan was not met.
    """

    match: Match
    action: Action
    at: Container[int] = first(1)
    minimum: int = 1


class FaultNotMetError(AssertionError):
    """A planned fault did not strike as often as it must: the test did not test what it says."""


# ------------------------------------------------------------------------- what Cloud Storage and the platform answer


def storage_error(code: int, reason: str, message: str, *, domain: str = "global") -> Status:
    """Return an error in the JSON format of Cloud Storage."""
    entry = {"message": message, "domain": domain, "reason": reason}
    body = json.dumps({"error": {"code": code, "message": message, "errors": [entry]}}).encode()
    return Status(code, body, (("Content-Type", "application/json; charset=UTF-8"),))


def storage_forbidden(permission: str = "storage.objects.create") -> Status:
    """Return the 403 of an identity that lacks a permission."""
    message = (
        f"pipes@local.iam.gserviceaccount.com does not have {permission} access to the Google Cloud Storage object. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )
    return storage_error(403, "forbidden", message)


STORAGE_UNAVAILABLE: Final = storage_error(503, "backendError", "We encountered an internal error. Please try again.")
STORAGE_RATE_LIMITED: Final = storage_error(
    429,
    "rateLimitExceeded",
    "The object exceeded the rate limit for object mutation operations (create, update, and delete). "
    "Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429.",
    domain="usageLimits",
)
STORAGE_PRECONDITION_FAILED: Final = storage_error(
    412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
)


def platform_error(code: int, text: str) -> Status:
    """Return an answer that the platform gives in a function's stead."""
    return Status(code, text.encode(), (("Content-Type", "text/plain"),))


_NO_INSTANCE: Final = "The request was aborted because there was no available instance."
NO_INSTANCE_429: Final = platform_error(429, _NO_INSTANCE)
NO_INSTANCE_500: Final = platform_error(500, _NO_INSTANCE)
INSTANCE_DIED: Final = platform_error(
    503,
    "The request failed because either the HTTP response was malformed or connection to the instance had an error.",
)
PLATFORM_TIMEOUT: Final = platform_error(504, "upstream request timeout")
UNAUTHENTICATED: Final = platform_error(
    401, "Your client does not have permission to the requested URL: the identity token is not valid."
)
NOT_INVOKER: Final = platform_error(403, "Your client does not have permission to get URL / from this server.")
