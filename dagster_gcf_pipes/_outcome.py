"""Determines the outcome of a call: error or success, metadata, and the log tail of a function that crashed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster import MetadataValue

from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._crash_logs import fetch_log_tail
from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._metadata import METADATA_PREFIX, Metadata
from dagster_gcf_pipes._reader_session import SessionRecord
from dagster_gcf_pipes._verdict import judge, may_still_run, needs_log_tail, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        error: The error with which it failed, or None if it succeeded.
        metadata: What is shown with every materialization and check; the error has its own.
        may_still_run: Whether it failed while the function may still run, or may still start.
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
        call: Where it went, and when it started.
        record: What happened to it.
        session: What its messages said.
        get_credentials: Gives the credentials with which the logs of a crashed function are read.
        log_view: The log view through which they are read, or None.
    """
    shown = call.result_metadata(record, session)
    if succeeded(record, session):
        return Outcome(None, shown, may_still_run=False)
    cause, metadata = None, call.failure_metadata(record, session)
    if needs_log_tail(record, session):
        tail = fetch_log_tail(call.log_scope(session.opened_extras), get_credentials, log_view=log_view)
        cause = tail.cause
        metadata = {**metadata, f"{METADATA_PREFIX}last_log_entries": MetadataValue.md(f"```\n{tail}\n```")}
    return Outcome(judge(record, session, metadata, cause=cause), shown, may_still_run=may_still_run(record, session))
