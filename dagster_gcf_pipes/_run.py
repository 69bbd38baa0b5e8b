"""One run of a function: where it runs, in which trace, and what Dagster shows of it beside what it reported."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from dagster import MetadataValue
from gcf_pipes._protocol import OpenedExtras, SessionLocation

from dagster_gcf_pipes._execution import Execution
from dagster_gcf_pipes._http import FunctionCall
from dagster_gcf_pipes._links import function_console_url, logs_explorer_url
from dagster_gcf_pipes._target import Target
from dagster_gcf_pipes._trace import CallTrace, trace_of_call
from dagster_gcf_pipes._verdict import Metadata, SessionRecord


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class FunctionRun:
    """One run of a function.

    Attributes:
        target: The function.
        location: Where its messages are.
        trace: The trace that it belongs to.
        started: When it started.
    """

    target: Target
    location: SessionLocation
    trace: CallTrace = field(default_factory=trace_of_call)
    started: datetime = field(default_factory=_now)

    @property
    def announcement(self) -> str:
        """What is said in the log before the call."""
        deadline = self.started + timedelta(seconds=self.target.timeout)
        logs = logs_explorer_url(self.execution(OpenedExtras(), ended=deadline))
        return (
            f"[pipes] calling {self.target.url} in trace {self.trace.trace_id}; its messages come through "
            f"{self.location.uri}{f', and its logs are at {logs}' if logs else ''}"
        )

    def execution(self, told: OpenedExtras, *, ended: datetime | None = None) -> Execution:
        """Put together what was looked up of the function and what it told of itself; it has ended now by default."""
        return Execution(
            started=self.started,
            ended=ended or _now(),
            trace=told.get("trace_id", self.trace.trace_id),
            project=told.get("project_id", self.target.place.project),
            service=told.get("service", self.target.place.service),
            execution_id=told.get("execution_id"),
            revision=told.get("revision"),
            instance_id=told.get("instance_id"),
        )

    def metadata(self, call: FunctionCall, session: SessionRecord) -> Metadata:
        """Return the metadata of every materialization, check and failure. What is not known is left out."""
        execution = self.execution(session.execution)
        crashed = session.opened and not session.closed
        known = {
            "function": _link(function_console_url(self.target.place)),
            "function_url": _link(self.target.url),
            "revision": _text(execution.revision),
            "execution_id": _text(execution.execution_id),
            "trace": _text(execution.trace),
            "logs": _link(logs_explorer_url(execution, crashed=crashed)),
            "http_status": None if call.record.status is None else MetadataValue.int(call.record.status),
            "attempts": MetadataValue.int(call.attempts),
            "duration_seconds": MetadataValue.float(round(call.duration, 3)),
            "instance_start": _text(_START.get(session.execution.get("cold_start"))),
            "messages": MetadataValue.int(session.message_count),
            "chunks": MetadataValue.int(session.chunk_count),
            "messages_uri": MetadataValue.path(self.location.uri),
        }
        return {name: value for name, value in known.items() if value is not None}


_START: dict[bool | None, str] = {True: "cold", False: "warm"}


def _link(url: str | None) -> MetadataValue[Any] | None:
    return MetadataValue.url(url) if url else None


def _text(text: str | None) -> MetadataValue[Any] | None:
    return MetadataValue.text(text) if text else None
