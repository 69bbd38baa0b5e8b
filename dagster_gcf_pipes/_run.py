"""One run of a function: where it runs, in which trace, and what Dagster shows of it beside what it reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from dagster import MetadataValue
from gcf_pipes._protocol import OpenedExtras, SessionLocation

from dagster_gcf_pipes._execution import Execution
from dagster_gcf_pipes._function_place import redacted
from dagster_gcf_pipes._http import FunctionCall
from dagster_gcf_pipes._links import function_console_url, logs_explorer_url
from dagster_gcf_pipes._metadata import METADATA_PREFIX, Metadata
from dagster_gcf_pipes._target import Target
from dagster_gcf_pipes._trace import CallTrace, trace_of_call
from dagster_gcf_pipes._verdict import SessionRecord


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class FunctionRun:
    """One run of a function.

    Attributes:
        target: The function.
        location: Where its messages are.
        trace: The trace that it belongs to.
        messages_stay_on_failure: Whether its messages are left in the bucket if it fails.
        started: When it started.
    """

    target: Target
    location: SessionLocation
    messages_stay_on_failure: bool = True
    trace: CallTrace = field(default_factory=trace_of_call)
    started: datetime = field(default_factory=_now)

    @property
    def announcement(self) -> str:
        """What is said in the log before the call."""
        deadline = self.started + timedelta(seconds=self.target.timeout)
        logs = logs_explorer_url(self.execution(OpenedExtras(), ended=deadline))
        return (
            f"[pipes] calling {redacted(self.target.url)} in trace {self.trace.trace_id}; its messages come through "
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

    def result_metadata(self, call: FunctionCall, session: SessionRecord) -> Metadata:
        """Return what is shown with every materialization and check: what a person looks at.

        Numbers that hardly change are left out: Dagster plots each number over the runs. So is what is not known.
        """
        execution = self.execution(session.execution)
        return _known(
            {
                "function": _link(function_console_url(self.target.place)),
                "logs": _link(logs_explorer_url(execution, crashed=session.opened and not session.closed)),
                "revision": _text(execution.revision),
                "execution_id": _text(execution.execution_id),
                "duration_seconds": MetadataValue.float(round(call.duration, 3)),
                "start": _text(_START.get(session.execution.get("cold_start"))),
            }
        )

    def failure_metadata(self, call: FunctionCall, session: SessionRecord) -> Metadata:
        """Return what is shown with a failure: all that is known."""
        status = call.record.status
        messages_stay = self.messages_stay_on_failure
        return {
            **self.result_metadata(call, session),
            **_known(
                {
                    "function_url": _text(redacted(self.target.url)),  # no link: to open it would call the function
                    "trace": _text(self.execution(session.execution).trace),
                    "http_status": None if status is None else MetadataValue.int(status),
                    "attempts": MetadataValue.int(call.attempts),
                    "messages": MetadataValue.int(session.message_count),
                    "chunks": MetadataValue.int(session.chunk_count),
                    "messages_uri": MetadataValue.path(self.location.uri) if messages_stay else None,
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
