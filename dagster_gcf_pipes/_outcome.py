"""Concludes a run: the verdict, what is shown with it, and what is known of a function that died without a word."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dagster import MetadataValue

from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._http import FunctionCall
from dagster_gcf_pipes._last_words import fetch_last_words
from dagster_gcf_pipes._metadata import METADATA_PREFIX, Metadata
from dagster_gcf_pipes._run import FunctionRun
from dagster_gcf_pipes._verdict import SessionRecord, died_without_a_word, find_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        error: The error with which it failed, or None if it succeeded.
        metadata: What is shown with every materialization and check; the error has its own.
        may_be_running: Whether it failed while the function may still be running.
    """

    error: PipesCloudFunctionError | None
    metadata: Metadata
    may_be_running: bool


def conclude(
    run: FunctionRun,
    call: FunctionCall,
    session: SessionRecord,
    get_credentials: "Callable[[], Credentials]",
    *,
    log_view: str | None,
) -> Outcome:
    """Return how a run ended.

    Args:
        run: The run.
        call: Its call.
        session: Its messages.
        get_credentials: Gives the credentials with which the logs of a function are read that died.
        log_view: The log view through which they are read, or None.
    """
    record, metadata = call.record, run.failure_metadata(call, session)
    if died_without_a_word(record, session):
        words = fetch_last_words(run.execution(session.execution), get_credentials, log_view=log_view)
        record = replace(record, fate=words.cause)
        metadata = {**metadata, f"{METADATA_PREFIX}last_log_entries": MetadataValue.md(f"```\n{words}\n```")}
    error = find_error(record, session, metadata)
    shown = run.result_metadata(call, session)
    return Outcome(error, shown, may_be_running=error is not None and record.may_go_on and not session.closed)
