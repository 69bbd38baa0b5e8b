"""Determines the outcome of a call: error or success, metadata, and the log tail of a function that crashed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster import MetadataValue

from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._crash_logs import fetch_log_tail
from dagster_gcf_pipes._errors import METADATA_PREFIX, Metadata, PipesCloudFunctionError
from dagster_gcf_pipes._session import SessionRecord
from dagster_gcf_pipes._verdict import judge, may_still_run, needs_log_tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        error: The error with which it failed, or None if it succeeded.
        metadata: Shown with every materialization and check. The error has its own metadata.
        may_still_run: Whether the call failed while the function may still run, or may still start.
    """

    error: PipesCloudFunctionError | None
    metadata: Metadata
    may_still_run: bool


def determine_outcome(
    call: Call,
    record: CallRecord,
    session: SessionRecord,
    get_credentials: "Callable[[], Credentials]",
    *,
    log_view: str | None,
) -> Outcome:
    """Return how a call ended.

    Args:
        call: Which function was called, and when.
        record: The attempts, and their responses.
        session: What the messages said.
        get_credentials: Returns the credentials with which to read the logs of a crashed function.
        log_view: The log view through which to read them, or None.
    """
    metadata, cause = {}, None
    if needs_log_tail(record, session):
        tail = fetch_log_tail(call.log_scope(session.opened_extras), get_credentials, log_view=log_view)
        cause = tail.cause
        metadata = {f"{METADATA_PREFIX}last_log_entries": MetadataValue.md(f"```\n{tail}\n```")}
    error = judge(record, session, cause=cause)
    if error:
        call.describe(error, record, session, metadata)
    return Outcome(error, call.result_metadata(record, session), may_still_run(record, session))
