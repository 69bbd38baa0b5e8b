"""Decides, from all that is known at the end of a run, whether it succeeded. It neither reads nor waits.

Success needs a 2xx, `opened`, `closed` without an exception, and every chunk. A call that was lost on its way needs
no 2xx: `closed` says that the function has ended well, and it is in the last chunk of an unbroken row. The order of
the rules is the order of what explains most: the function's own exception says more than the 500 that it caused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dagster import MetadataValue
from dagster_pipes import PipesException
from gcf_pipes._protocol import OpenedExtras

from dagster_gcf_pipes._errors import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionError,
    PipesCloudFunctionExceptionError,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionNotClosedError,
    PipesCloudFunctionNotOpenedError,
    PipesCloudFunctionRefusedError,
)
from dagster_gcf_pipes._metadata import METADATA_PREFIX, Metadata

_BODY_EXCERPT = 1000
_REFUSAL_EXCERPT = 4000
"""Longer: what mends a refusal stands at its end."""
_MOST_NAMED = 20
_SUCCESS = range(200, 300)
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
_CONFLICT = 409
_UNAVAILABLE = 503
_PROXY_ERRORS = frozenset({502, 503, 504})
_ACCESS_HINTS = {
    401: "the ID token is missing, expired, or was made for another audience than the function's URL",
    403: "no ID token was sent, or the identity lacks `roles/run.invoker` on the function's Cloud Run service",
    404: "the URL is not the function's, or the function's ingress setting blocks this network",
}
_NO_CONNECTION = "check the URL, and that this machine may connect to it: a proxy or a firewall may be in the way"
_NO_INSTANCE = "there was no available instance"
_ALL_BUSY = (
    "all the instances that it may have were busy. Deploy it with more (`--max-instances`), or call it less often at a "
    "time, as with a concurrency limit of Dagster"
)
_FATES_BEFORE_OPENED: Mapping[int | None, str] = {
    429: _ALL_BUSY,
    503: "its instance died before your code ran. Its log says why: a module that requirements.txt does not name, say",
    504: (
        "the call waited for an instance until the function's timeout. If `--concurrency` is above 1, set THREADS in "
        "the function's environment to as much: an instance takes more calls than it has threads"
    ),
}
"""Source: https://cloud.google.com/run/docs/troubleshooting, and for THREADS https://pypi.org/project/functions-framework."""
_UNKNOWN_FATE = "it crashed, or ran out of memory or time"
_LIKELY_FATES: Mapping[int | None, str] = {
    503: "its instance died, most often for want of memory. Deploy it with more, or let it hold less at a time",
    504: "it ran longer than its timeout. Deploy it with a longer one (at most 3600 s), or let it do less",
}
"""Source: https://cloud.google.com/run/docs/troubleshooting (503, 504)."""


@dataclass(frozen=True)
class CallRecord:
    """How the HTTP call ended.

    Attributes:
        status: The HTTP status, or None if no response came.
        lost: Why no response came, or None.
        sent: Whether the request may have reached the function; no if there was no connection.
        body: The response body as text.
        error_code: The code of the error for which the function's runtime refused the call, or None.
        chunk_count: The number of chunks that the function says it wrote, or None if it did not say.
        identity_error: Why there was no ID token, if the call was not made or was refused for want of one.
        hint: What mends a refusal, as far as the caller's identity tells.
        location: Where a redirect leads, without its query.
        fate: Why the function ended, as the platform says in its log, or None.
    """

    status: int | None = None
    lost: str | None = None
    sent: bool = True
    body: str = ""
    error_code: str | None = None
    chunk_count: int | None = None
    identity_error: PipesCloudFunctionIdentityError | None = None
    hint: str = ""
    location: str = ""
    fate: str | None = None

    @property
    def chunks_to_expect(self) -> int | None:
        """How many chunks there are to read, None if that is not known, 0 if the call did not reach the function."""
        if self.chunk_count is None and (not self.sent or self.status in _ACCESS_HINTS):
            return 0
        return self.chunk_count

    @property
    def may_go_on(self) -> bool:
        """Whether the function may be running although the call ended: only its messages tell.

        That is so if no response came, if a proxy answered in the function's place, and if the session was claimed by
        another delivery of the call.
        """
        if self.error_code is not None:
            return self.claimed_by_another
        return self.status is None or self.status in _PROXY_ERRORS

    @property
    def claimed_by_another(self) -> bool:
        """Whether another delivery of this call has claimed the session, and runs or has run the user's code."""
        return self.error_code is not None and self.status == _CONFLICT

    @property
    def summary(self) -> str:
        """How the call ended, in words that follow "the call"."""
        return f"got no response ({self.lost})" if self.status is None else f"was answered with HTTP {self.status}"


@dataclass(frozen=True)
class SessionRecord:
    """What the message reader saw of the session.

    Attributes:
        opened: Whether `opened` came.
        execution: What `opened` told of the execution.
        closed: Whether `closed` came.
        exception: The exception that came with `closed`, or None.
        chunk_count: The number of chunks that were read and handled.
        message_count: The number of messages that were handled.
        missing_chunks: The numbers of chunks that are not in the bucket, although they or a later one were written.
        failure: What ended the reading before its time, or None.
    """

    opened: bool = False
    execution: OpenedExtras = field(default_factory=OpenedExtras)
    closed: bool = False
    exception: PipesException | None = None
    chunk_count: int = 0
    message_count: int = 0
    missing_chunks: tuple[int, ...] = ()
    failure: Exception | None = None


def died_without_a_word(call: CallRecord, session: SessionRecord) -> bool:
    """Whether the function ended, or never began, without telling why: then its logs may."""
    if session.closed or session.failure or call.error_code or call.identity_error:
        return False
    return call.status in _SERVER_ERRORS or (call.status is None and call.sent)


def find_error(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    """Return the error with which the run failed, carrying `metadata`, or None if it succeeded."""
    for rule in _RULES:
        if error := rule(call, session, metadata):
            return error
    return None


def _function_raised(_: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.exception is None:
        return None
    return PipesCloudFunctionExceptionError(
        f"The function raised {session.exception['message'].strip()}",
        {**metadata, f"{METADATA_PREFIX}traceback": MetadataValue.md(f"```\n{_traceback(session.exception)}\n```")},
    )


def _reading_failed(_: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.failure is None:
        return None
    error = PipesCloudFunctionMessagesError(
        f"The function's messages could not be read and handled to their end: {session.failure}", metadata
    )
    error.__cause__ = session.failure
    return error


def _call_refused(call: CallRecord, _: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if call.error_code is None or call.may_go_on:
        return None
    return PipesCloudFunctionRefusedError(
        f"The function refused the call before its code ran ({call.status} {call.error_code}): "
        f"{_excerpt(call.body, _REFUSAL_EXCERPT)}",
        metadata,
        allow_retries=call.status == _UNAVAILABLE,
    )


def _no_id_token(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if call.identity_error is None or session.opened:
        return None
    error = PipesCloudFunctionIdentityError(
        call.identity_error.description, metadata, allow_retries=call.identity_error.allow_retries
    )
    error.__cause__ = call.identity_error.__cause__
    return error


def _access_denied(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if call.status not in _ACCESS_HINTS or session.opened or call.chunk_count is not None:
        return None
    return PipesCloudFunctionAccessError(
        f"The call did not reach the function: HTTP {call.status}. The likely cause: {_ACCESS_HINTS[call.status]}. "
        f"{call.hint}{' ' if call.hint else ''}The response says: {_excerpt(call.body)}",
        metadata,
        allow_retries=False,
    )


def _redirected(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if call.status not in _REDIRECTS or session.opened or call.chunk_count is not None:
        return None
    return PipesCloudFunctionCallError(
        f"Expected the function to answer, got HTTP {call.status}, a redirect to {call.location or 'nowhere'}. It is "
        "not followed: a call, and its ID token, go only where you say. Pass the function's own https URL, which "
        "`gcloud functions describe` shows.",
        metadata,
        allow_retries=False,
    )


def _call_lost(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if not call.may_go_on or (session.opened and session.closed):
        return None
    return PipesCloudFunctionCallError(
        f"The call {call.summary}; {_progress(session)}{_fate(call, session)}. {_response(call)}",
        metadata,
    )


def _fate(call: CallRecord, session: SessionRecord) -> str:
    """Say why the function ended, or did not begin: as the platform's log says it, or what is most likely."""
    fate = call.fate or _likely_fate(call, session)
    return fate and f": {fate}"


def _likely_fate(call: CallRecord, session: SessionRecord) -> str:
    if session.opened:
        return _LIKELY_FATES.get(call.status, _UNKNOWN_FATE) if call.may_go_on else ""
    if not call.sent:
        return _NO_CONNECTION
    return _ALL_BUSY if _NO_INSTANCE in call.body else _FATES_BEFORE_OPENED.get(call.status, "")


def _response(call: CallRecord) -> str:
    return "" if call.status is None else f"The response says: {_excerpt(call.body)}"


def _status_not_ok(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if call.status in _SUCCESS or call.may_go_on:
        return None
    return PipesCloudFunctionCallError(
        f"The function answered HTTP {call.status}, expected 2xx; {_progress(session)}{_fate(call, session)}. "
        f"{_response(call)}",
        metadata,
    )


def _chunks_missing(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    missing = session.missing_chunks
    if not missing and session.chunk_count < (call.chunk_count or 0):
        missing = (session.chunk_count + 1,)
    if not missing:
        return None
    wrote = f"it wrote {call.chunk_count} chunks, but " if call.chunk_count is not None else ""
    return PipesCloudFunctionMessagesError(
        f"Messages of the function were lost: {wrote}{describe_missing(missing)}.", metadata
    )


def describe_missing(chunks: tuple[int, ...]) -> str:
    """Say which chunks are missing."""
    if len(chunks) == 1:
        return f"chunk {chunks[0]} is not in the bucket"
    more = f" and {len(chunks) - _MOST_NAMED} more" if len(chunks) > _MOST_NAMED else ""
    return f"chunks {', '.join(map(str, chunks[:_MOST_NAMED]))}{more} are not in the bucket"


def _not_opened(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.opened:
        return None
    return PipesCloudFunctionNotOpenedError(
        f"The function answered HTTP {call.status}, but it opened no Pipes session, so nothing is known of what it "
        "did. Decorate its entry point with `gcf_pipes.pipes_function`, or open a session from the request body with "
        "`dagster_pipes.PipesMappingParamsLoader`. If your code does so, what is deployed is older than your code: "
        "deploy it again.",
        metadata,
        allow_retries=False,
    )


def _not_closed(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.closed:
        return None
    return PipesCloudFunctionNotClosedError(
        f"The function answered HTTP {call.status} without closing its Pipes session; {_progress(session)}, and more "
        "may have been lost. Use the Pipes context as a context manager, or decorate the entry point with "
        "`gcf_pipes.pipes_function`.",
        metadata,
    )


_RULES: tuple[Callable[[CallRecord, SessionRecord, Metadata], PipesCloudFunctionError | None], ...] = (
    _function_raised,
    _reading_failed,
    _call_refused,
    _no_id_token,
    _access_denied,
    _redirected,
    _call_lost,
    _status_not_ok,
    _chunks_missing,
    _not_opened,
    _not_closed,
)


def _progress(session: SessionRecord) -> str:
    if not session.opened:
        return "it opened no Pipes session"
    state = "and closed its Pipes session" if session.closed else "but did not close its Pipes session"
    return f"{session.message_count} messages in {session.chunk_count} chunks came, {state}"


def _excerpt(body: str, most: int = _BODY_EXCERPT) -> str:
    text = body.strip() or "nothing"
    return text if len(text) <= most else f"{text[:most]}..."


def _traceback(exception: PipesException) -> str:
    parts = [_traceback(earlier) for earlier in (exception["cause"] or exception["context"],) if earlier]
    return "\n".join([*parts, "".join([*exception["stack"], exception["message"]])])
