"""One run of a function: where it runs, in which trace, and what Dagster shows of it beside what it reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from dagster import MetadataValue
from gcf_pipes._protocol import OpenedExtras, SessionPrefix

from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._functions import function_console_url, redacted
from dagster_gcf_pipes._functions_api import Target
from dagster_gcf_pipes._log_query import LogScope, logs_explorer_url
from dagster_gcf_pipes._metadata import METADATA_PREFIX, Metadata
from dagster_gcf_pipes._reader_session import SessionRecord
from dagster_gcf_pipes._trace import CallTrace, trace_of_call


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Call:
    """One run of a function.

    Attributes:
        target: The function.
        prefix: Where its messages are.
        trace: The trace that it belongs to.
        messages_stay_on_failure: Whether its messages are left in the bucket if it fails.
        started: When it started.
    """

    target: Target
    prefix: SessionPrefix
    messages_stay_on_failure: bool = True
    trace: CallTrace = field(default_factory=trace_of_call)
    started: datetime = field(default_factory=_now)

    @property
    def announcement(self) -> str:
        """What is said in the log before the call."""
        deadline = self.started + timedelta(seconds=self.target.timeout)
        logs = logs_explorer_url(self.log_scope(OpenedExtras(), ended=deadline))
        return (
            f"[pipes] calling {redacted(self.target.url)} in trace {self.trace.trace_id}; its messages come through "
            f"{self.prefix.uri}{f', and its logs are at {logs}' if logs else ''}"
        )

    def log_scope(self, opened_extras: OpenedExtras, *, ended: datetime | None = None) -> LogScope:
        """Put together what was looked up of the function and what `opened` said; it has ended now by default."""
        return LogScope(
            started=self.started,
            ended=ended or _now(),
            trace=opened_extras.get("trace_id", self.trace.trace_id),
            project=opened_extras.get("project_id", self.target.name.project),
            service=opened_extras.get("service", self.target.name.service),
            execution_id=opened_extras.get("execution_id"),
            revision=opened_extras.get("revision"),
            instance_id=opened_extras.get("instance_id"),
        )

    def result_metadata(self, call: CallRecord, session: SessionRecord) -> Metadata:
        """Return what is shown with every materialization and check: what a person looks at.

        Numbers that hardly change are left out: Dagster plots each number over the runs. So is what is not known.
        """
        scope = self.log_scope(session.opened_extras)
        return _known(
            {
                "function": _link(function_console_url(self.target.name)),
                "logs": _link(logs_explorer_url(scope, crashed=session.opened and not session.closed)),
                "revision": _text(scope.revision),
                "execution_id": _text(scope.execution_id),
                "duration_seconds": MetadataValue.float(round(call.duration, 3)),
                "start": _text(_START.get(session.opened_extras.get("cold_start"))),
            }
        )

    def failure_metadata(self, call: CallRecord, session: SessionRecord) -> Metadata:
        """Return what is shown with a failure: all that is known."""
        status = call.last.status
        messages_stay = self.messages_stay_on_failure
        return {
            **self.result_metadata(call, session),
            **_known(
                {
                    "function_url": _text(redacted(self.target.url)),  # no link: to open it would call the function
                    "trace": _text(self.log_scope(session.opened_extras).trace),
                    "http_status": None if status is None else MetadataValue.int(status),
                    "attempts": MetadataValue.int(len(call.attempts)),
                    "messages": MetadataValue.int(session.message_count),
                    "chunks": MetadataValue.int(session.chunk_count),
                    "messages_uri": MetadataValue.path(self.prefix.uri) if messages_stay else None,
                }
            ),
        }


def _known(values: Mapping[str, MetadataValue[Any] | None]) -> Metadata:
    """Return the values that are known, in our namespace."""
    return {f"{METADATA_PREFIX}{name}": value for name, value in values.items() if value is not None}


_START: dict[bool | None, str] = {True: "cold", False: "warm"}


def _link(url: str | None) -> MetadataValue[Any] | None:
    return MetadataValue.url(url) if url else None


def _text(text: str | None) -> MetadataValue[Any] | None:
    return MetadataValue.text(text) if text else None
