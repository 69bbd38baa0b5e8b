"""Decides from the facts whether a call succeeded. It neither reads nor waits.

The facts are all attempts, who answered each, and what the messages said. The messages decide, not the status of the
last attempt: in a session of our runtime, `closed` tells the outcome, whatever became of the HTTP answers. The order of
the rules is the order of what explains most: the function's own exception says more than the 500 that it caused.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from dagster import MetadataValue
from dagster_pipes import PipesException
from gcf_pipes import PipesStorageError
from gcf_pipes._protocol import RESPONSE_STATUS_EXCEPTION

from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._cancel_marker import Claim
from dagster_gcf_pipes._errors import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionNotClosedError,
    PipesCloudFunctionNotOpenedError,
    PipesCloudFunctionRaisedError,
    PipesCloudFunctionRefusedError,
)
from dagster_gcf_pipes._http import SUCCESS, AnsweredBy, Attempt
from dagster_gcf_pipes._metadata import METADATA_PREFIX, Metadata
from dagster_gcf_pipes._reader_session import SessionRecord, describe_missing

Rule: TypeAlias = Callable[[CallRecord, SessionRecord, Metadata], PipesCloudFunctionError | None]

MAX_EXCERPT: Final = 1000
"""Characters of a response's body, or of an exception's message, that an error shows."""
MAX_REFUSAL: Final = 4000
"""Characters of a refusal that an error shows: what fixes it stands at its end."""
MAX_TRACEBACK: Final = 64 * 1024
"""Characters of the traceback in the metadata."""
_UNAVAILABLE: Final = 503
_SERVER_ERRORS: Final = range(500, 600)
_ACCESS_CAUSES: Final[Mapping[int | None, str]] = {
    401: "the ID token is missing, expired, or was made for another audience than the function's URL",
    403: "no ID token was sent, or the identity lacks `roles/run.invoker` on the function's Cloud Run service",
    404: "the URL is not the function's, or the function's ingress setting blocks this network",
}
_NO_INSTANCE: Final = "there was no available instance"
_ALL_BUSY: Final = "All instances were busy. Raise `--max-instances`, or limit concurrency in Dagster."
_CAUSES_BEFORE_OPENED: Final[Mapping[int | None, str]] = {
    429: _ALL_BUSY,
    503: (
        "The instance crashed before your code ran. Its log says why. A common cause is a package missing from "
        "requirements.txt."
    ),
    504: (
        "The call waited for an instance until the function's timeout. If `--concurrency` is above 1, set THREADS in "
        "the function's environment to the same number: an instance takes more calls than it has threads."
    ),
}
"""Source: https://cloud.google.com/run/docs/troubleshooting, and for THREADS https://pypi.org/project/functions-framework."""
_UNKNOWN_CAUSE: Final = "It crashed, or ran out of memory or time."
_CAUSES: Final[Mapping[int | None, str]] = {
    503: (
        "The instance crashed, most often because it ran out of memory. Deploy with more memory or process less data "
        "at once."
    ),
    504: "It ran longer than its timeout. Deploy it with a longer one (at most 3600 s), or give it less work.",
}
"""Source: https://cloud.google.com/run/docs/troubleshooting (503, 504)."""


def judge(
    call: CallRecord, session: SessionRecord, metadata: Metadata, *, cause: str | None = None
) -> PipesCloudFunctionError | None:
    """Return the error with which a call failed, or None if it succeeded.

    Args:
        call: The call.
        session: What its messages said.
        metadata: What the error carries.
        cause: Why the function ended, as the platform's log says it, or None.
    """
    if succeeded(call, session):
        return None
    for rule in _RULES:
        if error := rule(call, session, metadata):
            return error
    return _unexplained(call, session, metadata, cause)


def succeeded(call: CallRecord, session: SessionRecord) -> bool:
    """Whether a call succeeded: closed without an exception, all chunks, and an answer where that decides."""
    complete = (
        session.opened
        and session.closed
        and session.exception is None
        and session.failure is None
        and not _missing_chunks(call, session)
    )
    if call.last.answered_by is AnsweredBy.FUNCTION and call.last.status not in SUCCESS:
        return False
    return complete and (session.closes_with_request or call.is_plain_success)


def may_still_run(call: CallRecord, session: SessionRecord) -> bool:
    """Whether a function whose call has failed may still run, or may still start."""
    if session.closed or call.last.answered_by is AnsweredBy.FUNCTION or call.is_plain_success:
        return False
    return session.opened or call.may_have_started


def needs_log_tail(call: CallRecord, session: SessionRecord) -> bool:
    """Whether a function ended, or never started, without telling why: then its logs may."""
    last = _most_telling(call)
    if session.closed or session.failure or last.identity_error or last.answered_by is AnsweredBy.REFUSAL:
        return False
    return session.silent_for > 0 or last.answered_by is AnsweredBy.NOBODY or last.status in _SERVER_ERRORS


def _exception(_: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.exception is None:
        return None
    message = session.exception["message"].strip()
    if session.closes_with_request and session.exception["name"] == RESPONSE_STATUS_EXCEPTION:
        return PipesCloudFunctionCallError(
            _excerpt(message.removeprefix(f"{RESPONSE_STATUS_EXCEPTION}: "), MAX_REFUSAL), metadata
        )
    traceback = _traceback(session.exception).rstrip()[:MAX_TRACEBACK]
    return PipesCloudFunctionRaisedError(
        f"The function raised {_excerpt(message, MAX_REFUSAL)}",
        {**metadata, f"{METADATA_PREFIX}traceback": MetadataValue.md(f"```\n{traceback}\n```")},
    )


def _reading_failed(_: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.failure is None:
        return None
    error = PipesCloudFunctionMessagesError(
        f"The function's messages could not be read and handled to their end: {session.failure}",
        metadata,
        allow_retries=not isinstance(session.failure, PipesStorageError) or session.failure.transient,
    )
    error.__cause__ = session.failure
    return error


def _refused(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    last = call.last
    if last.answered_by is not AnsweredBy.REFUSAL or session.opened:
        return None
    return PipesCloudFunctionRefusedError(
        f"The function refused the call before its code ran ({last.status} {last.error_code}): "
        f"{_excerpt(last.body, MAX_REFUSAL)}{_earlier_attempts(call)}",
        metadata,
        allow_retries=last.status == _UNAVAILABLE,
    )


def _no_id_token(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    identity_error = call.last.identity_error
    if identity_error is None or session.opened:
        return None
    error = PipesCloudFunctionIdentityError(
        f"{identity_error.description}{_earlier_attempts(call)}", metadata, allow_retries=identity_error.allow_retries
    )
    error.__cause__ = identity_error.__cause__
    return error


def _not_sent(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    last = call.last
    if last.answered_by is not AnsweredBy.NOT_SENT or session.opened:
        return None
    return PipesCloudFunctionCallError(
        f"Could not connect to the function: {last.error}. {last.fix}{_earlier_attempts(call)}",
        metadata,
        allow_retries=not last.permanent,
    )


def _access_denied(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    last = call.last
    if not last.denied_access or session.opened:
        return None
    return PipesCloudFunctionAccessError(
        f"The call did not reach the function: HTTP {last.status}. The likely cause: {_ACCESS_CAUSES[last.status]}. "
        f"{last.hint}{' ' if last.hint else ''}{_response(last)}{_earlier_attempts(call)}",
        metadata,
        allow_retries=call.may_have_started,
    )


def _redirected(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    last = call.last
    if not last.redirected or session.opened:
        return None
    target = f"a redirect to {last.redirect_to}" if last.redirect_to else "a redirect without a target"
    return PipesCloudFunctionCallError(
        f"Expected the function to answer, got HTTP {last.status}, {target}. Redirects are not followed, so that the "
        "ID token goes only to the URL you gave. Pass the function's own https URL, which `gcloud functions describe` "
        f"shows.{_earlier_attempts(call)}",
        metadata,
        allow_retries=call.may_have_started,
    )


def _chunks_missing(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    missing = _missing_chunks(call, session)
    if not missing:
        return None
    count = call.last.chunk_count
    wrote = f"it wrote {count} chunks, but " if count is not None else ""
    return PipesCloudFunctionMessagesError(
        f"Messages of the function were lost: {wrote}{describe_missing(missing)}.", metadata
    )


def _missing_chunks(call: CallRecord, session: SessionRecord) -> tuple[int, ...]:
    count = call.last.chunk_count if call.last.answered_by is AnsweredBy.FUNCTION else None
    if not session.missing_chunks and session.chunk_count < (count or 0):
        return (session.chunk_count + 1,)
    return session.missing_chunks


def _not_opened(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.opened or not _ended_with_2xx(call):
        return None
    return PipesCloudFunctionNotOpenedError(
        f"The function returned HTTP {call.last.status}, but it opened no Pipes session, so nothing is known of what "
        "it did. Decorate its entry point with `gcf_pipes.pipes_function`, or open a session from the request body "
        "with `dagster_pipes.PipesMappingParamsLoader`. If your code does so, what is deployed is older than your "
        "code: deploy it again.",
        metadata,
        allow_retries=False,
    )


def _not_closed(call: CallRecord, session: SessionRecord, metadata: Metadata) -> PipesCloudFunctionError | None:
    if session.closed or not _ended_with_2xx(call) or session.silent_for:
        return None
    return PipesCloudFunctionNotClosedError(
        f"The function returned HTTP {call.last.status} without closing its Pipes session; {_progress(session)}, "
        "and more may have been lost. Use the Pipes context as a context manager, or decorate the entry point with "
        "`gcf_pipes.pipes_function`.",
        metadata,
    )


_RULES: tuple[Rule, ...] = (
    _exception,
    _reading_failed,
    _refused,
    _no_id_token,
    _not_sent,
    _access_denied,
    _redirected,
    _chunks_missing,
    _not_opened,
    _not_closed,
)


def _unexplained(
    call: CallRecord, session: SessionRecord, metadata: Metadata, cause: str | None
) -> PipesCloudFunctionError:
    """Return the error of a call whose end nobody has told: say what is known, and what is not."""
    last = _most_telling(call)
    parts = [f"The call {last.summary}; {_progress(session)}."]
    if session.silent_for:
        parts.append(f"The function has given no sign of life for {session.silent_for:.0f} s: it is taken for dead.")
    parts.append(_capitalized(cause) or _likely_cause(last, session))
    parts.append(_not_started(call, session))
    parts.append(_response(last) if last.status is not None else "")
    return PipesCloudFunctionCallError(f"{' '.join(filter(None, parts))}{_earlier_attempts(call)}", metadata)


def _not_started(call: CallRecord, session: SessionRecord) -> str:
    if session.opened or call.claim is None:
        return ""
    if call.claim is Claim.OURS:
        return (
            "Your code has not run, and will not run for this call if the function uses `gcf_pipes`: a delivery that "
            "comes late finds the session closed."
        )
    return "Whether it was started, or will be, is not known."


def _most_telling(call: CallRecord) -> Attempt:
    """Return the last attempt but for duplicates, which say only that an earlier one has started the function."""
    telling = [attempt for attempt in call.attempts if attempt.answered_by is not AnsweredBy.DUPLICATE]
    return telling[-1] if telling else call.last


def _likely_cause(last: Attempt, session: SessionRecord) -> str:
    if last.answered_by is AnsweredBy.FUNCTION:
        return ""
    if last.answered_by is AnsweredBy.REFUSAL:
        return "It may have refused the call after its first message was stored."
    if session.opened:
        if not session.closed:
            return _CAUSES.get(last.status, _UNKNOWN_CAUSE)
        return (
            "It closed its Pipes session without an exception. But it does not use `gcf_pipes.pipes_function`, so "
            "nobody knows whose answer this is."
        )
    return _ALL_BUSY if _NO_INSTANCE in last.body else _CAUSES_BEFORE_OPENED.get(last.status, "")


def _earlier_attempts(call: CallRecord) -> str:
    earlier = call.attempts[:-1]
    if not earlier:
        return ""
    described = "; ".join(f"attempt {number} {attempt.summary}" for number, attempt in enumerate(earlier, start=1))
    return f" Before that: {_excerpt(described, MAX_EXCERPT)}."


def _ended_with_2xx(call: CallRecord) -> bool:
    return call.is_plain_success or (call.last.answered_by is AnsweredBy.FUNCTION and call.last.status in SUCCESS)


def _response(attempt: Attempt) -> str:
    return f"The response says: {_excerpt(attempt.body)}"


def _progress(session: SessionRecord) -> str:
    if not session.opened:
        return "the function opened no Pipes session"
    state = "and it closed its Pipes session" if session.closed else "but it did not close its Pipes session"
    return f"{session.message_count} messages in {session.chunk_count} chunks came, {state}"


def _capitalized(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _excerpt(text: str, length: int = MAX_EXCERPT) -> str:
    text = text.strip() or "nothing"
    return text if len(text) <= length else f"{text[:length]}..."


def _traceback(exception: PipesException) -> str:
    parts = [_traceback(earlier) for earlier in (exception["cause"] or exception["context"],) if earlier]
    return "\n".join([*parts, "".join([*exception["stack"], exception["message"]])])
