"""Fault plans as data: which requests get a fault, and what it does to them.

    UPLOAD.of(r"/2\\.json$")     a match: requests of one kind, here for objects whose name has this pattern
    ResetAfter()                an action: what happens to a request that gets the fault
    Fault(match, action, at)    a fault: the action is injected into the matching requests whose ordinals are in `at`

Nothing here opens a socket: an action uses an `Exchange`, which `tests.faults.proxy` implements.
"""

import json
import re
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from http.client import responses
from queue import SimpleQueue
from typing import Final, Literal, Protocol

from dagster_gcf_pipes._responses import make_response
from dagster_gcf_pipes.testing._batches import BATCH_PATH, join_responses, split_batch

Headers = tuple[tuple[str, str], ...]

# ------------------------------------------------------------------------------------------------ requests and replies


@dataclass(frozen=True)
class Request:
    """A request as the proxy received it.

    Attributes:
        method: The HTTP method.
        target: Path and query as on the request line.
        path: The path, unquoted.
        query: The query, unquoted.
        headers: All headers.
        body: The body.
        bucket: The bucket that a request to Cloud Storage names.
        object_name: The object that a request to Cloud Storage names, in its path or its body.
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
        headers: All headers except those that the proxy sets itself (`Content-Length`, `Connection`).
        body: The whole body.
        reason: The text beside the status.
        keep_bytes: If given, the client gets this many bytes of the body, and then the connection ends.
        pieces: If given, the body in the pieces in which the client gets it.
    """

    status: int
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    reason: str = ""
    keep_bytes: int | None = None
    pieces: Iterable[bytes] | None = field(default=None, repr=False)


class HangUp(Enum):
    """An end of the connection without an answer."""

    RESET = auto()
    CLOSE = auto()


Reply = Response | HangUp


class Exchange(Protocol):
    """What an action can do with its request."""

    @property
    def request(self) -> Request:
        """The request."""

    def forward(self) -> Response:
        """Deliver the request upstream and wait for the answer."""

    def deliver(self, after: float = 0.0) -> "Future[Response]":
        """Deliver the request upstream in another thread, after so many seconds or at the end of the plan.

        The delivery continues after the client has its reply. The plan waits for it.
        """

    def wait(self, seconds: float) -> None:
        """Wait, at most until the end of the plan."""


# ------------------------------------------------------------------------------------------------------------- matches


@dataclass(frozen=True)
class Match:
    """Selects requests.

    Attributes:
        kind: The name of this kind of request.
        methods: Regular expression of the whole method.
        path: Regular expression of the whole unquoted path.
        query: Regular expression to search in the unquoted query.
        object_name: Regular expression to search in the object's name. If given, the request must name an object.
        status: The status of the answer from upstream, or None to match before the request is delivered.
    """

    kind: str
    methods: str
    path: str
    query: str = ""
    object_name: str = ""
    status: int | None = None

    def of(self, object_name: str) -> "Match":
        """Return this match for requests whose object's name has the pattern."""
        return replace(self, object_name=object_name)

    def answered(self, status: int) -> "Match":
        """Return this match for requests that upstream has answered with a status.

        The action then changes the answer only: it cuts, delays or loses it. `READ.answered(200)` leaves out the polls
        for an object that does not exist yet.
        """
        return replace(self, status=status)

    def matches(self, request: Request, answer: Response | None = None) -> bool:
        """Whether a request has this kind, such an object and that answer."""
        return bool(
            self.status == (answer.status if answer else None)
            and re.fullmatch(self.methods, request.method)
            and re.fullmatch(self.path, request.path, re.DOTALL)
            and re.search(self.query, request.query)
            and (not self.object_name or re.search(self.object_name, request.object_name or ""))
        )


_LIST: Final = r"(?:/storage/v1)?/b/[^/]+/o"
_OBJECT: Final = r"(?:/download)?(?:/storage/v1)?/b/[^/]+/o/.+"

UPLOAD: Final = Match("upload", "POST|PUT", r"/upload/.+")
"""An upload. A resumable one (over 8 MB, with the Python client) is one request to start and one or more to send."""
READ: Final = Match("read", "GET", _OBJECT, query=r"(?:^|&)alt=media(?:&|$)")
METADATA: Final = Match("metadata", "GET", _OBJECT, query=r"^(?!(?:.*&)?alt=media(?:&|$))")
LIST: Final = Match("list", "GET", _LIST)
DELETE: Final = Match("delete", "POST", BATCH_PATH)
"""A batch: the package deletes objects in no other way, and sends nothing else in batches."""
CALL: Final = Match("call", "POST", r"(?!/upload/|/storage/|/batch/|/b/|/b$).*")
"""A call of the function: a POST that does not go to Cloud Storage."""

_KINDS: Final = (UPLOAD, READ, METADATA, LIST, DELETE, CALL)


def kind_of(request: Request) -> str:
    """The name of a request's kind, or "other"."""
    return next((match.kind for match in _KINDS if match.matches(request)), "other")


# ------------------------------------------------------------------------------------------------------------- actions

GIVE_UP: Final = 60.0
"""Seconds after which what an action waits for will not happen any more."""


class Action(ABC):
    """What a fault does to a request."""

    lasts: float = 0.0
    """Seconds from its first injection in which it affects every matching request; 0: only those of the ordinals."""

    @abstractmethod
    def apply(self, exchange: Exchange) -> Reply:
        """Do it, and return the client's reply."""


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

    def apply(self, exchange: Exchange) -> Response:
        return self.response


@dataclass(frozen=True)
class StatusAfter(Action):
    """Forwards, and answers an error although the request was processed.

    Attributes:
        code: The HTTP status.
        body: The body.
        within: If given, the longest wait for upstream in seconds. The request goes on after it.
    """

    code: int
    body: bytes = b""
    within: float | None = None

    def apply(self, exchange: Exchange) -> Response:
        _await_delivery(exchange, self.within)
        return Status(self.code, self.body).response


@dataclass(frozen=True)
class StatusOfEach(Action):
    """Answers an error to each request of a batch instead of forwarding, as Cloud Storage does.

    Attributes:
        status: The error.
    """

    status: Status

    def apply(self, exchange: Exchange) -> Response:
        requests = split_batch(dict(exchange.request.headers)["Content-Type"], exchange.request.body)
        headers, body = join_responses(make_response(each, self.status.code, self.status.body) for each in requests)
        return Response(200, tuple(headers.items()), body)


@dataclass(frozen=True)
class ResetBefore(Action):
    """Resets the connection; nothing is forwarded."""

    def apply(self, exchange: Exchange) -> HangUp:
        return HangUp.RESET


@dataclass(frozen=True)
class ResetAfter(Action):
    """Forwards, and resets the connection when the request was processed: a lost acknowledgement.

    Attributes:
        within: If given, the longest wait for upstream in seconds. The request goes on after it.
    """

    within: float | None = None

    def apply(self, exchange: Exchange) -> HangUp:
        _await_delivery(exchange, self.within)
        return HangUp.RESET


@dataclass(frozen=True)
class Truncate(Action):
    """Forwards, and ends the connection before the response's body is complete.

    Attributes:
        keep_bytes: How many bytes of the body the client gets. The body must be longer.
    """

    keep_bytes: int = 0

    def apply(self, exchange: Exchange) -> Response:
        response = exchange.forward()
        if len(response.body) <= self.keep_bytes:
            raise ValueError(f"{self} cannot cut a body of {len(response.body)} bytes (HTTP {response.status}).")
        return replace(response, keep_bytes=self.keep_bytes)


@dataclass(frozen=True)
class Corrupt(Action):
    """Forwards, and changes the last byte of the response's body, but not its headers."""

    def apply(self, exchange: Exchange) -> Response:
        response = exchange.forward()
        return replace(response, body=response.body[:-1] + bytes([response.body[-1] ^ 1]))


@dataclass(frozen=True)
class Trickle(Action):
    """Forwards, and answers byte by byte. So the connection is never silent for long, and the body never complete.

    Attributes:
        pause: Seconds before each byte. The end of the plan ends the waits.
    """

    pause: float

    def apply(self, exchange: Exchange) -> Response:
        response = exchange.forward()
        return replace(response, pieces=self._pieces(response.body, exchange))

    def _pieces(self, body: bytes, exchange: Exchange) -> Iterator[bytes]:
        for byte in body:
            exchange.wait(self.pause)
            yield bytes([byte])


@dataclass(frozen=True)
class Stall(Action):
    """Waits, and then ends the connection without an answer.

    Attributes:
        seconds: How long it waits. The end of the plan ends the wait.
        processed: Whether upstream processes the request first.
    """

    seconds: float
    processed: bool = False

    def apply(self, exchange: Exchange) -> HangUp:
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

    def apply(self, exchange: Exchange) -> Response:
        exchange.wait(self.seconds)
        return exchange.forward()


@dataclass(frozen=True)
class DelayUntil(Action):
    """Waits for something to happen, and then forwards.

    Attributes:
        happened: Set when it has happened.
    """

    happened: threading.Event

    def apply(self, exchange: Exchange) -> Response:
        if not self.happened.wait(GIVE_UP):
            raise TimeoutError(f"It has not happened within {GIVE_UP:g} s.")
        return exchange.forward()


@dataclass(frozen=True)
class Gather(Action):
    """Waits until so many requests wait at the same time, and then forwards them. Otherwise the test fails.

    Attributes:
        barrier: How many.
    """

    barrier: threading.Barrier

    def apply(self, exchange: Exchange) -> Response:
        self.barrier.wait(GIVE_UP)
        return exchange.forward()


@dataclass(frozen=True)
class DelayAnswer(Action):
    """Forwards, waits, and then answers: a large response on a slow line.

    Attributes:
        seconds: How long it waits. The end of the plan ends the wait.
    """

    seconds: float

    def apply(self, exchange: Exchange) -> Response:
        response = exchange.forward()
        exchange.wait(self.seconds)
        return response


@dataclass(frozen=True)
class Duplicate(Action):
    """Delivers the request twice.

    Attributes:
        concurrently: Whether both deliveries start at once. The client then gets its answer as soon as it arrives.
            Otherwise the second delivery starts after the first answer.
        answer: Which answer, in the order of arrival, the client gets.
    """

    concurrently: bool = False
    answer: Literal["first", "second"] = "first"

    def apply(self, exchange: Exchange) -> Response:
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
    """Answers at once, and delivers the request later, like a queue or an instance that starts slowly.

    Attributes:
        seconds: How much later. At the end of the plan the request is delivered anyway.
        answer: What the client gets, or None for a reset.
    """

    seconds: float
    answer: Status | None = None

    def apply(self, exchange: Exchange) -> Reply:
        exchange.deliver(after=self.seconds)
        return self.answer.response if self.answer else HangUp.RESET


@dataclass(frozen=True)
class Unavailable(Action):
    """Resets the connection of every matching request for a time that starts with the first injection.

    Attributes:
        lasts: How many seconds.
    """

    lasts: float

    def apply(self, exchange: Exchange) -> HangUp:
        return HangUp.RESET


@dataclass(frozen=True)
class Unresponsive(Action):
    """Like `Unavailable`, but the requests get neither an answer nor a reset, not even later.

    Attributes:
        lasts: How many seconds.
    """

    lasts: float

    def apply(self, exchange: Exchange) -> HangUp:
        exchange.wait(threading.TIMEOUT_MAX)
        return HangUp.CLOSE


def _await_delivery(exchange: Exchange, within: float | None) -> None:
    done, _ = wait([exchange.deliver()], within)
    for delivery in done:
        delivery.result()  # raises if the request could not be delivered


# -------------------------------------------------------------------------------------------------------------- faults


def first(times: int) -> range:
    """The ordinals of the first `times` requests."""
    return range(1, times + 1)


def after(passed: int) -> range:
    """The ordinals of all requests after the first `passed` ones."""
    return range(passed + 1, sys.maxsize)


EVERY: Final = after(0)


@dataclass(frozen=True)
class Fault:
    """One fault of a plan.

    If several faults apply to a request, the first one is injected. Faults of requests go before faults of answers.

    Attributes:
        match: Selects requests.
        action: What happens to them.
        at: The ordinals of the selected requests that get the fault, from 1: `first(2)`, `after(3)`, `EVERY`, `{2, 5}`.
            Requests that another fault affects count, too.
        minimum: How often the fault must be injected. Otherwise the test fails.
    """

    match: Match
    action: Action
    at: Container[int] = first(1)
    minimum: int = 1


class FaultNotTriggeredError(AssertionError):
    """A fault was not injected as often as its plan requires, so the test did not test its subject."""


# --------------------------------------------------------------------- answers of Cloud Storage and of the platform


def storage_error(code: int, reason: str, message: str, *, domain: str = "global") -> Status:
    """Return an error in the JSON format of Cloud Storage."""
    entry = {"message": message, "domain": domain, "reason": reason}
    body = json.dumps({"error": {"code": code, "message": message, "errors": [entry]}}).encode()
    return Status(code, body, (("Content-Type", "application/json; charset=UTF-8"),))


def storage_forbidden(permission: str = "storage.objects.create") -> Status:
    """Return the 403 for an identity without a permission."""
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
    """Return an answer of the platform in place of the function's."""
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
