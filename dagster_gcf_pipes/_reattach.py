"""Decides what a step does with the calls that an earlier attempt of it has made.

All of it is pure: what the event log and the bucket say comes in, a decision goes out. A session and the attempt that
follows it are judged apart, so a sensor could also ask whether a session is over.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Any, Final

from gcf_pipes._shared.protocol import VERSION, SessionPrefix

from dagster_gcf_pipes._messages.inspection import SessionFacts

CLIENT_NAME: Final = "PipesCloudFunctionClient"
HANDLE_METADATA_KEY: Final = "dagster_pipes/launch_handle"
"""The metadata key of a launch handle in an engine event of the step.

Source: dagster/_core/pipes/reattach.py, `PIPES_LAUNCH_HANDLE_METADATA_KEY`. Older versions of Dagster do not have it.
"""
_HANDLE_CLASS: Final = "PipesLaunchHandle"


@dataclass(frozen=True)
class CallIdentity:
    """What makes a call of one attempt of a step the same as a call of another attempt.

    Attributes:
        function: The function's URL, without a query.
        digest: SHA-256 of what the call asks for.
        repetition: How many calls with the same function and digest the attempt made before.
    """

    function: str
    digest: str
    repetition: int


@dataclass(frozen=True)
class LaunchHandle:
    """What an attempt of a step records of a call before it makes it.

    Attributes:
        call: What the call asks for.
        ordinal: How many calls the attempt made before.
        session: The prefix of the session in the bucket.
        deadline: When the function's own timeout has stopped it for sure, in seconds since the epoch.
        launched_at: When the call was first made, in seconds since the epoch.
        run_id: The run that first made the call.
        attempt: Identifies the attempt that recorded the handle.
        step_key: The key of the step.
        retry_number: How often Dagster has retried the step in this run.
        url: A link to the function's logs, or None.
        over: Whether no attempt can use the session any more.
    """

    call: CallIdentity
    ordinal: int
    session: SessionPrefix
    deadline: float
    launched_at: float
    run_id: str
    attempt: str
    step_key: str
    retry_number: int
    url: str | None = None
    over: bool = False

    def to_json(self) -> str:
        """Return the handle in the form of Dagster's `PipesLaunchHandle`, which Dagster itself can read."""
        extras = {
            "bucket": self.session.bucket,
            "prefix": self.session.path,
            **asdict(self.call),
            "ordinal": self.ordinal,
            "deadline": self.deadline,
            "run_id": self.run_id,
            "attempt": self.attempt,
            "over": self.over,
            "version": VERSION,
        }
        return _handle_json(
            extras,
            external_run_id=self.session.uri,
            external_run_url=self.url,
            launched_at=self.launched_at,
            retry_number=self.retry_number,
            step_key=self.step_key,
        )

    @classmethod
    def from_json(cls, text: str) -> "LaunchHandle | None":
        """Return the handle that `to_json` wrote, or None if another client or another version wrote the text."""
        try:
            handle, extras = _parse_handle(text)
            return cls(
                call=CallIdentity(*_typed(extras, function=str, digest=str, repetition=int)),
                session=SessionPrefix(*_typed(extras, bucket=str, prefix=str)),
                **_named(extras, ordinal=int, deadline=float, run_id=str, attempt=str, over=bool),
                **_named(handle, launched_at=float, step_key=str, retry_number=int),
                url=str(url) if (url := handle["external_run_url"]) else None,
            )
        except _NOT_OURS:
            return None


@dataclass(frozen=True)
class CallsHandle:
    """What an attempt of a step records of the calls that it makes together, before it makes them.

    Attributes:
        function: The function's URL, without a query.
        count: How many calls there are.
        session: The prefix that their sessions share.
        longest: How long a function may run after its call has claimed its session, in seconds.
        launched_at: When the calls were planned, in seconds since the epoch.
        run_id: The run that first made the calls.
        attempt: Identifies the attempt that recorded the handle.
        step_key: The key of the step.
        retry_number: How often Dagster has retried the step in this run.
        over: The numbers of the calls whose sessions no attempt can use any more.
    """

    function: str
    count: int
    session: SessionPrefix
    longest: float
    launched_at: float
    run_id: str
    attempt: str
    step_key: str
    retry_number: int
    over: tuple[int, ...] = ()

    def to_json(self) -> str:
        """Return the handle in the form of Dagster's `PipesLaunchHandle`."""
        extras = {
            "bucket": self.session.bucket,
            "prefix": self.session.path,
            "function": self.function,
            "count": self.count,
            "longest": self.longest,
            "run_id": self.run_id,
            "attempt": self.attempt,
            "over_calls": [*self.over],
            "version": VERSION,
        }
        return _handle_json(
            extras,
            external_run_id=self.session.uri,
            external_run_url=None,
            launched_at=self.launched_at,
            retry_number=self.retry_number,
            step_key=self.step_key,
        )

    @classmethod
    def from_json(cls, text: str) -> "CallsHandle | None":
        """Return the handle that `to_json` wrote, or None if it is another one."""
        try:
            handle, extras = _parse_handle(text)
            return cls(
                session=SessionPrefix(*_typed(extras, bucket=str, prefix=str)),
                **_named(extras, function=str, count=int, longest=float, run_id=str, attempt=str),
                **_named(handle, launched_at=float, step_key=str, retry_number=int),
                over=tuple(map(int, extras["over_calls"])),
            )
        except _NOT_OURS:
            return None


_NOT_OURS: Final = (ValueError, KeyError, TypeError, RecursionError)


def _handle_json(extras: Mapping[str, Any], **fields: Any) -> str:
    return json.dumps({"__class__": _HANDLE_CLASS, "client_name": CLIENT_NAME, "extras": extras, **fields})


def _parse_handle(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    handle = json.loads(text)
    if (handle["__class__"], handle["client_name"]) != (_HANDLE_CLASS, CLIENT_NAME):
        raise ValueError
    return handle, handle["extras"]


class SessionState(Enum):
    """What has become of a session. The value completes the sentence "the function ..."."""

    NOT_STARTED = "has not started"
    RUNNING = "may still run"
    SUCCEEDED = "has succeeded"
    FAILED = "has failed"
    CANCELLED = "was told to stop"
    EXPIRED = "is past its deadline"
    UNKNOWN = "does not use `gcf_pipes.pipes_function`, so nobody knows how it ends"
    OVER = "is done, and its call has failed or its messages are deleted"


class NextStep(Enum):
    """What an attempt of a step does with the session of an earlier one."""

    POST_AGAIN = auto()
    """Make the call again in the same session: the claim lets the function run once."""
    FOLLOW = auto()
    """Read the messages until the function closes the session."""
    READ = auto()
    """Read the messages of a function that has succeeded."""
    CALL_ANEW = auto()
    """Make the call in a session of its own."""


NEXT_STEPS: Final[Mapping[SessionState, NextStep]] = {
    SessionState.NOT_STARTED: NextStep.POST_AGAIN,
    SessionState.RUNNING: NextStep.FOLLOW,
    SessionState.SUCCEEDED: NextStep.READ,
    SessionState.FAILED: NextStep.CALL_ANEW,
    SessionState.CANCELLED: NextStep.CALL_ANEW,
    SessionState.EXPIRED: NextStep.CALL_ANEW,
    SessionState.UNKNOWN: NextStep.CALL_ANEW,
    SessionState.OVER: NextStep.CALL_ANEW,
}
MAY_RUN: Final = frozenset({SessionState.NOT_STARTED, SessionState.RUNNING, SessionState.EXPIRED, SessionState.UNKNOWN})
"""The function of such a session may run, or a late delivery may start it. After its timeout the platform answers 504,
but does not stop it. Source: https://cloud.google.com/run/docs/configuring/request-timeout."""


def state_of(handle: LaunchHandle, facts: SessionFacts, now: float) -> SessionState:
    """Return what has become of a session.

    Args:
        handle: The newest handle of the session.
        facts: What the bucket says.
        now: The time, in seconds since the epoch.
    """
    if handle.over:
        return SessionState.OVER
    if facts.cancelled:  # also if it has returned: it may have returned early
        return SessionState.CANCELLED
    if not facts.opened:
        return SessionState.CANCELLED if facts.chunk_count else SessionState.NOT_STARTED
    if not facts.closes_with_request:
        return SessionState.UNKNOWN
    if facts.closed:
        return SessionState.FAILED if facts.raised else SessionState.SUCCEEDED
    return SessionState.EXPIRED if now > handle.deadline else SessionState.RUNNING


def find_same_call(earlier: Sequence[LaunchHandle], call: CallIdentity) -> LaunchHandle | None:
    """Return the newest of the earlier calls that asked for the same.

    Args:
        earlier: The handles of earlier attempts, newest first.
        call: The call that an attempt is about to make.
    """
    return next((handle for handle in earlier if handle.call == call), None)


def find_replaced_call(earlier: Sequence[LaunchHandle], call: CallIdentity, ordinal: int) -> LaunchHandle | None:
    """Return the earlier call of the same function in whose place an attempt asks for something else.

    If there were several calls, nobody knows yet which of them the attempt will still make, and adopt.

    Args:
        earlier: The handles of earlier attempts, newest first.
        call: The call that the attempt is about to make.
        ordinal: How many calls the attempt made before.
    """
    only_one = len({handle.call for handle in earlier}) == 1 and ordinal == 0
    return earlier[0] if only_one and earlier[0].call.function == call.function else None


def _typed(values: Mapping[str, Any], **types: type) -> list[Any]:
    return [*_named(values, **types).values()]


def _named(values: Mapping[str, Any], **types: type) -> dict[str, Any]:
    if any(type(values[name]) is not type_ for name, type_ in types.items()):
        raise TypeError
    return {name: values[name] for name in types}
