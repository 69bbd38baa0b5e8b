"""Judges a call: error or success, its metadata, and the log tail of a function that crashed.

The facts are all attempts, who answered each, and what the messages said. The messages decide, not the status of the
last attempt: in a session of our runtime, `closed` tells the outcome, whatever happened to the HTTP responses. The rule
that explains most comes first: the function's own exception says more than the 500 that it caused.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from dagster import MetadataValue
from dagster_pipes import PipesException
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.counting import counted
from gcf_pipes._shared.protocol import RESPONSE_STATUS_EXCEPTION

from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._crash_logs import MEMORY_FIX, Cause, CrashLogs
from dagster_gcf_pipes._errors import (
    METADATA_PREFIX,
    Metadata,
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
from dagster_gcf_pipes._fixes import (
    CREDENTIALS_FIX,
    REDIRECT_FIX,
    access_fix,
    access_problem,
    no_id_token_problem,
    redirect_problem,
)
from dagster_gcf_pipes._http import SUCCESS, AnsweredBy, Attempt
from dagster_gcf_pipes._messages.cancel_marker import Claim
from dagster_gcf_pipes._messages.record import SessionRecord, describe_missing
from dagster_gcf_pipes._messages.session_reader import AnotherProtocolError, PartitionReportError

Rule: TypeAlias = Callable[[CallRecord, SessionRecord], PipesCloudFunctionError | None]

MAX_EXCERPT: Final = 1000
"""Characters of a response's body, or of an exception's message, that an error shows."""
MAX_REFUSAL: Final = 4000
"""Characters of a refusal that an error shows. The fix is at its end."""
MAX_TRACEBACK: Final = 64 * 1024
"""Characters of the traceback in the metadata."""
_FIX: Final = "\nFix: "
_SAME_STORAGE: Final = (
    "Let the function write to the storage that Dagster reads from. With emulators, set STORAGE_EMULATOR_HOST to the "
    "same one for both, as `dagster-gcf-pipes dev` does."
)
_SAME_LOG: Final = (
    "Let Dagster read the log that the function writes to: that of its own project. Check that no exclusion filter "
    "drops entries of `run.googleapis.com/stdout`, and that `log_view`, if it is set, shows them."
)
_NO_CLAIM: Final = (
    "The call is not retried: the request was sent, and without a bucket nothing keeps the function from running twice."
)
_INTERNAL_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_SERVER_ERRORS: Final = range(500, 600)
_TAGS: Final = re.compile(r"<(script|style)\b.*?(?:</\1>|\Z)|<[^>]*(?:>|\Z)", re.DOTALL | re.IGNORECASE)
"""What stays open ends with the page, so the time is linear in the length of a hostile page."""
_FLASK_ERROR: Final = "there is an error in the application"
"""Part of Flask's body of a 500. Source: https://github.com/pallets/werkzeug (`exceptions.InternalServerError`)."""
_NOT_DECORATED: Final = Cause(
    "Its code raised outside of `gcf_pipes.pipes_function`, so only the function's own log has the exception.",
    "Write the entry point as `def main(request, pipes)`, and decorate it with `gcf_pipes.pipes_function`. If it is "
    "so, read its log.",
)
NO_INSTANCE: Final = "there was no available instance"
ALL_BUSY: Final = Cause("All instances were busy.", "Raise `--max-instances`, or limit concurrency in Dagster.")
CAUSES_BEFORE_OPENED: Final[Mapping[int | None, Cause]] = {
    429: ALL_BUSY,
    503: Cause(
        "The instance crashed before your code ran.",
        "Read its log. A common cause is a package missing from requirements.txt.",
    ),
    504: Cause(
        "The call waited for an instance until the function's timeout.",
        "If `--concurrency` is above 1, set THREADS in the function's environment to the same number. Without that, an "
        "instance takes more calls than it has threads.",
    ),
}
"""Source: https://cloud.google.com/run/docs/troubleshooting, and for THREADS https://pypi.org/project/functions-framework."""
_CAUSES: Final[Mapping[int | None, Cause]] = {
    503: Cause(
        "The instance crashed, most often because it ran out of memory.",
        MEMORY_FIX,
    ),
    504: Cause(
        "It ran longer than its timeout.",
        "Deploy it with a longer timeout (`--timeout`, at most 3600 s), or give it less work.",
    ),
}
"""Source: https://cloud.google.com/run/docs/troubleshooting (503, 504)."""
_UNKNOWN_CAUSE: Final = Cause("It has probably crashed, or run out of memory or time.")
_NO_CAUSE: Final = Cause("")


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        error: The error with which it failed, or None if it succeeded.
        metadata: Shown with every materialization and check. The error has its own metadata.
        may_still_run: Whether the call failed while the function may still run, or may still start.
        adoptable: Whether the call failed only because its messages could not be read at the time. A later attempt of
            the step may read them.
    """

    error: PipesCloudFunctionError | None
    metadata: Metadata
    may_still_run: bool
    adoptable: bool = False


def determine_outcome(
    call: Call,
    record: CallRecord,
    session: SessionRecord,
    logs: CrashLogs,
    *,
    describe_last_peak: Callable[[], str],
) -> Outcome:
    """Return how a call ended.

    Args:
        call: Which function was called, and when.
        record: The attempts, and their responses.
        session: What the messages said.
        logs: The logs of crashed functions.
        describe_last_peak: Returns a sentence about the peak memory of the last run, or an empty text.
    """
    metadata, cause = {}, None
    if needs_log_tail(record, session):
        tail = logs.fetch_tail(call.log_scope(session.opened_extras))
        cause = tail.cause
        metadata = {f"{METADATA_PREFIX}last_log_entries": MetadataValue.md(f"```\n{tail}\n```")}
    error = judge(record, session, cause=cause, describe_last_peak=describe_last_peak)
    if error and not call.has_claim and may_still_run(record, session):
        error = _without_retry(error)
    if error:
        call.describe(error, record, session, metadata)
    adoptable = isinstance(session.failure, PipesStorageError) and session.failure.transient
    return Outcome(error, call.result_metadata(record, session), may_still_run(record, session), adoptable)


def judge(
    call: CallRecord,
    session: SessionRecord,
    *,
    cause: Cause | None = None,
    describe_last_peak: Callable[[], str] = str,
) -> PipesCloudFunctionError | None:
    """Return the error with which a call failed, or None if it succeeded.

    Args:
        call: The attempts, and their responses.
        session: What the messages said.
        cause: Why the function stopped, in the words of the platform's log, or None.
        describe_last_peak: Returns a sentence about the peak memory of the last run. Called if this one may have run
            out of memory.
    """
    if succeeded(call, session):
        return None
    errors = (rule(call, session) for rule in _RULES)
    return next(filter(None, errors), None) or _unexplained(call, session, cause, describe_last_peak)


def _without_retry(error: PipesCloudFunctionError) -> PipesCloudFunctionError:
    """Keep Dagster from retrying the step: without a claim, the code of its function could run twice at once."""
    problem, separator, fix = str(error.description).partition(_FIX)
    error.description = f"{problem} {_NO_CLAIM}{separator}{fix}"
    error.args = (error.description,)
    error.allow_retries = False
    return error


def succeeded(call: CallRecord, session: SessionRecord) -> bool:
    """Whether a call succeeded: `closed` without an exception, all chunks, and a 2xx where the response decides."""
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
    """Whether the function of a failed call may still run, or may still start."""
    if session.closed or call.last.answered_by is AnsweredBy.FUNCTION or call.is_plain_success:
        return False
    return session.opened or call.may_have_started


def needs_log_tail(call: CallRecord, session: SessionRecord) -> bool:
    """Whether nothing says why a function stopped or never started. Then its logs may."""
    last = _most_telling(call)
    explained = last.identity_error or last.lacked_id_token or last.answered_by is AnsweredBy.REFUSAL
    if session.closed or session.failure or explained:
        return False
    return session.silent_for > 0 or last.answered_by is AnsweredBy.NOBODY or last.status in _SERVER_ERRORS


def _exception(_: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    if session.exception is None:
        return None
    message = session.exception["message"].strip()
    if session.closes_with_request and session.exception["name"] == RESPONSE_STATUS_EXCEPTION:
        return PipesCloudFunctionCallError(
            _excerpt(message.removeprefix(f"{RESPONSE_STATUS_EXCEPTION}: "), MAX_REFUSAL)
        )
    traceback = _traceback(session.exception).rstrip()[:MAX_TRACEBACK]
    return PipesCloudFunctionRaisedError(
        f"The function raised {_excerpt(message, MAX_REFUSAL)}",
        {f"{METADATA_PREFIX}traceback": MetadataValue.md(f"```\n{traceback}\n```")},
    )


def _reading_failed(_: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    if session.failure is None:
        return None
    error = PipesCloudFunctionMessagesError(
        f"Could not read and handle all messages of the function: {session.failure}",
        allow_retries=_may_pass(session.failure),
    )
    error.__cause__ = session.failure
    return error


def _may_pass(failure: Exception) -> bool:
    if isinstance(failure, PipesStorageError):
        return failure.transient
    return not isinstance(failure, AnotherProtocolError | PartitionReportError)


def _refused(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    last = call.last
    if last.answered_by is not AnsweredBy.REFUSAL or session.opened:
        return None
    text = f"The function refused the call before its code ran ({last.status} {last.error_code}): "
    return PipesCloudFunctionRefusedError(
        _with_earlier_attempts(text + _excerpt(last.body, MAX_REFUSAL), call),
        allow_retries=last.status == _UNAVAILABLE,
    )


def _no_id_token(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    last = call.last
    if session.opened:
        return None
    if identity_error := last.identity_error:
        error = PipesCloudFunctionIdentityError(
            _with_earlier_attempts(str(identity_error.description), call),
            allow_retries=identity_error.allow_retries,
        )
        error.__cause__ = identity_error.__cause__
        return error
    if last.lacked_id_token:
        return PipesCloudFunctionIdentityError(
            _with_earlier_attempts(no_id_token_problem(last.status or 0, last.caller), call) + _fix(CREDENTIALS_FIX)
        )
    return None


def _not_sent(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    last = call.last
    if last.answered_by is not AnsweredBy.NOT_SENT or session.opened:
        return None
    return PipesCloudFunctionCallError(
        _with_earlier_attempts(f"Could not connect to the function: {last.error}.", call) + _fix(last.fix),
        allow_retries=last.retryable,
    )


def _access_denied(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    last = call.last
    if not last.denied_access or session.opened:
        return None
    status = last.status or 0
    problem = _with_earlier_attempts(access_problem(status), call)
    return PipesCloudFunctionAccessError(
        f"{problem} {_response(last)}{_fix(access_fix(status, last.caller))}",
        allow_retries=call.may_have_started,
    )


def _redirected(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    last = call.last
    if not last.redirected or session.opened:
        return None
    return PipesCloudFunctionCallError(
        _with_earlier_attempts(redirect_problem(last.status or 0, last.redirect_to), call) + _fix(REDIRECT_FIX),
        allow_retries=call.may_have_started,
    )


def _chunks_missing(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    missing = _missing_chunks(call, session)
    if not missing:
        return None
    count = call.last.chunk_count
    wrote = f"it wrote {counted(count, session.parts)}, but " if count is not None else ""
    fix = "" if session.opened else _fix(_SAME_STORAGE if session.parts == "chunk" else _SAME_LOG)
    return PipesCloudFunctionMessagesError(
        f"Messages of the function are missing: {wrote}{describe_missing(missing, session)}.{fix}"
    )


def _missing_chunks(call: CallRecord, session: SessionRecord) -> tuple[int, ...]:
    count = call.last.chunk_count if call.last.answered_by is AnsweredBy.FUNCTION else None
    if not session.missing_chunks and session.chunk_count < (count or 0):
        return (session.chunk_count + 1,)
    return session.missing_chunks


def _not_opened(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    if session.opened or not _ended_with_2xx(call):
        return None
    return PipesCloudFunctionNotOpenedError(
        f"The function returned HTTP {call.last.status}, but it opened no Pipes session. Nobody knows what it did.\n"
        "Fix: Decorate its entry point with `gcf_pipes.pipes_function`, or open a session from the request body with "
        "`dagster_pipes.PipesMappingParamsLoader`. If your code does this already, deploy it again: the deployed code "
        "is older."
    )


def _not_closed(call: CallRecord, session: SessionRecord) -> PipesCloudFunctionError | None:
    if session.closed or not _ended_with_2xx(call) or session.silent_for:
        return None
    return PipesCloudFunctionNotClosedError(
        f"The function returned HTTP {call.last.status} without closing its Pipes session. {_arrived(session)} "
        "arrived, and others may be missing.\n"
        "Fix: Use the Pipes context as a context manager, or decorate the entry point with `gcf_pipes.pipes_function`."
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
    call: CallRecord, session: SessionRecord, cause: Cause | None, describe_last_peak: Callable[[], str]
) -> PipesCloudFunctionError:
    """Return the error of a call that nothing explains: say what is known, and what is not."""
    last = _most_telling(call)
    cause = cause or _likely_cause(last, session)
    sentences = (
        f"The call {last.summary}; {_progress(session)}.",
        _silence(session),
        cause.text,
        describe_last_peak() if _may_be_memory(cause) else "",
        "" if cause is _NOT_DECORATED else _not_started(call, session),
        _earlier_attempts(call),
        _response(last) if last.status is not None and last.status not in SUCCESS else "",
    )
    text = " ".join(filter(None, sentences))
    return PipesCloudFunctionCallError(text if _FIX in text else f"{text}{_fix(cause.fix)}")


def _may_be_memory(cause: Cause) -> bool:
    return cause is _UNKNOWN_CAUSE or cause.fix == MEMORY_FIX


def _silence(session: SessionRecord) -> str:
    if not session.silent_for:
        return ""
    return f"The function has shown no sign of life for {session.silent_for:.0f} s."


def _not_started(call: CallRecord, session: SessionRecord) -> str:
    if session.opened or call.claim is None:
        return ""
    if call.claim is Claim.OURS:
        return (
            "Your code has not run. It will not run for this call if the function uses `gcf_pipes`: a late delivery "
            "finds the session closed."
        )
    return "Nobody knows whether it has started, or will start."


def _most_telling(call: CallRecord) -> Attempt:
    """Return the last attempt that is not a duplicate: a duplicate only says that an earlier attempt was delivered."""
    telling = [attempt for attempt in call.attempts if attempt.answered_by is not AnsweredBy.DUPLICATE]
    return telling[-1] if telling else call.last


def _likely_cause(last: Attempt, session: SessionRecord) -> Cause:
    if last.answered_by is AnsweredBy.FUNCTION:
        return _NO_CAUSE
    if last.answered_by is AnsweredBy.REFUSAL:
        return Cause("It may have refused the call after its first message was stored.")
    if session.closed:
        return Cause(
            "It reported no exception. But it does not use `gcf_pipes.pipes_function`, so nobody knows who sent this "
            "response."
        )
    if session.opened:
        return _CAUSES.get(last.status, _UNKNOWN_CAUSE)
    if last.status == _INTERNAL_ERROR and _FLASK_ERROR in last.body:
        return _NOT_DECORATED
    return ALL_BUSY if NO_INSTANCE in last.body else CAUSES_BEFORE_OPENED.get(last.status, _NO_CAUSE)


def _earlier_attempts(call: CallRecord) -> str:
    earlier = call.attempts[:-1]
    if not earlier:
        return ""
    described = "; ".join(f"attempt {number} {attempt.summary}" for number, attempt in enumerate(earlier, start=1))
    return f"Before that: {_excerpt(described, MAX_EXCERPT)}."


def _ended_with_2xx(call: CallRecord) -> bool:
    return call.is_plain_success or (call.last.answered_by is AnsweredBy.FUNCTION and call.last.status in SUCCESS)


def _response(attempt: Attempt) -> str:
    is_page = attempt.body.lstrip().startswith("<")
    text = " ".join(_TAGS.sub(" ", attempt.body).split()) if is_page else attempt.body
    return f"The response says: {_excerpt(text)}" if text.strip() else "The response is empty."


def _progress(session: SessionRecord) -> str:
    if not session.opened:
        return "the function opened no Pipes session"
    state = "and it closed its Pipes session" if session.closed else "but it did not close its Pipes session"
    return f"{_arrived(session)} arrived, {state}"


def _arrived(session: SessionRecord) -> str:
    chunks = f" in {_count(session.chunk_count, 'chunk')}" if session.chunk_count else ""
    return f"{_count(session.message_count, 'message')}{chunks}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _fix(text: str) -> str:
    return f"{_FIX}{text}" if text else ""


def _with_earlier_attempts(text: str, call: CallRecord) -> str:
    """Return a text with the earlier attempts, which come before what the text says to do."""
    problem, separator, fix = text.partition(_FIX)
    return f"{' '.join(filter(None, (problem, _earlier_attempts(call))))}{separator}{fix}"


def _excerpt(text: str, length: int = MAX_EXCERPT) -> str:
    text = text.strip() or "nothing"
    return text if len(text) <= length else f"{text[:length]}..."


def _traceback(exception: PipesException) -> str:
    parts = [_traceback(earlier) for earlier in (exception["cause"] or exception["context"],) if earlier]
    return "\n".join([*parts, "".join([*exception["stack"], exception["message"]])])
