"""One call of a function: its target, session and trace, and the metadata that Dagster shows of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from dagster import MetadataValue
from gcf_pipes._shared.protocol import OpenedExtras, SessionPrefix

from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._costs import (
    MIB,
    InstanceSize,
    PipesCloudFunctionPrices,
    billable_seconds,
    estimate_cost,
    list_prices,
    parse_cpus,
    parse_memory,
)
from dagster_gcf_pipes._errors import METADATA_PREFIX, Metadata, PipesCloudFunctionError
from dagster_gcf_pipes._functions import function_console_url, redacted
from dagster_gcf_pipes._functions_api import Target
from dagster_gcf_pipes._log_query import LogScope, logs_explorer_url
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._trace import CallTrace, trace_of_call


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Call:
    """One call of a function.

    Attributes:
        target: The function.
        prefix: The session's prefix in the bucket. Without a bucket, its path is the session's id alone.
        through: Where its messages arrive, in words. Default: the prefix.
        trace: The trace that the call belongs to.
        messages_stay_on_failure: Whether the messages of a failed call stay in the bucket.
        prices: What to estimate its cost with, or None for the list prices of its region.
        started: When the call started.
        adopted_from: The run that made the call, if this step has adopted it.
    """

    target: Target
    prefix: SessionPrefix
    through: str = ""
    messages_stay_on_failure: bool = True
    prices: PipesCloudFunctionPrices | None = None
    trace: CallTrace = field(default_factory=trace_of_call)
    started: datetime = field(default_factory=_now)
    adopted_from: str | None = None

    @property
    def has_claim(self) -> bool:
        """Whether the function claims the session, so that its code runs at most once, however often it is called."""
        return not self.through

    @property
    def announcement(self) -> str:
        """The log line before the call."""
        logs = self.logs_url
        return (
            f"[pipes] calling {redacted(self.target.url)} in trace {self.trace.trace_id}; its messages arrive through "
            f"{self.through or self.prefix.uri}{f', and its logs are at {logs}' if logs else ''}"
        )

    @property
    def logs_url(self) -> str | None:
        """The link to the logs before the call, or None."""
        return logs_explorer_url(self.log_scope(OpenedExtras(), ended=self._deadline))

    @property
    def _deadline(self) -> datetime:
        return self.started + timedelta(seconds=self.target.timeout)

    def log_scope(self, opened_extras: OpenedExtras, *, ended: datetime | None = None) -> LogScope:
        """Return what identifies the execution in the logs: from the lookup, and from `opened`.

        Args:
            opened_extras: What `opened` said about the execution.
            ended: When the execution ended. Default: now.
        """
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

    def running_metadata(self, opened_extras: OpenedExtras) -> Metadata:
        """Return what is known of the call while the function runs, for a materialization that is logged then.

        Args:
            opened_extras: What `opened` said about the execution.
        """
        scope = self.log_scope(opened_extras, ended=self._deadline)
        return _known(
            {
                "function": _link(function_console_url(self.target.name)),
                "logs": _link(logs_explorer_url(scope)),
                "revision": _text(scope.revision),
                "execution_id": _text(scope.execution_id),
                "start": _text(_START.get(opened_extras.get("cold_start"))),
                "adopted_from": MetadataValue.dagster_run(self.adopted_from) if self.adopted_from else None,
            }
        )

    def result_metadata(self, record: CallRecord, session: SessionRecord) -> Metadata:
        """Return the metadata for every materialization and check: what a person looks at.

        It leaves out numbers that hardly change, because Dagster plots each number, and unknown values.
        """
        scope = self.log_scope(session.opened_extras)
        usage = session.usage
        billed = self._billed_seconds(session)
        known = {
            "logs": _link(logs_explorer_url(scope, crashed=session.opened and not session.closed)),
            "duration_seconds": None if self.adopted_from else MetadataValue.float(round(record.duration, 3)),
            "peak_memory_mib": _number(usage.get("peak_memory_bytes"), 1, divisor=MIB),
            "cpu_seconds": _number(usage.get("cpu_seconds"), 3),
            "billable_seconds": _number(billed, 1),
            "estimated_cost_usd": _number(self._estimated_cost(session, billed), 9),
            "instance": _text(self._instance(session)),
        }
        return {**self.running_metadata(session.opened_extras), **_known(known)}

    def instance_size(self, opened_extras: OpenedExtras) -> InstanceSize:
        """Return what the instance has, from `opened` or else from the lookup.

        Args:
            opened_extras: What `opened` said about the execution.
        """
        info = self.target.info
        return InstanceSize(
            memory=opened_extras.get("memory_limit_bytes") or (parse_memory(info.memory) if info else None),
            cpus=opened_extras.get("cpus") or (parse_cpus(info.cpu) if info else None),
        )

    def _billed_seconds(self, session: SessionRecord) -> float | None:
        """Return the seconds that are billed for the request. A function that runs elsewhere costs nothing."""
        seconds = session.usage.get("wall_seconds")
        return billable_seconds(seconds) if seconds is not None and "service" in session.opened_extras else None

    def _estimated_cost(self, session: SessionRecord, billed: float | None) -> float | None:
        if billed is None:
            return None
        region = session.opened_extras.get("region", self.target.name.region)
        return estimate_cost(self.prices or list_prices(region), self.instance_size(session.opened_extras), billed)

    def _instance(self, session: SessionRecord) -> str:
        shared = "shared with other calls" if session.usage.get("shared") else ""
        return "; ".join(filter(None, (str(self.instance_size(session.opened_extras)), shared)))

    def describe(
        self, error: PipesCloudFunctionError, record: CallRecord, session: SessionRecord, more: Metadata
    ) -> None:
        """Add to an error all that is known of the call that failed with it.

        Args:
            error: The error.
            record: The attempts, and their responses.
            session: What the messages said.
            more: Further metadata for the error.
        """
        error.function_url = redacted(self.target.url)
        error.http_status = record.last.status
        error.messages_uri = self.prefix.uri if self.messages_stay_on_failure else None
        facts = {
            "function_url": _text(error.function_url),  # not a link: a click would call the function
            "trace": _text(self.log_scope(session.opened_extras).trace),
            "http_status": None if error.http_status is None else MetadataValue.int(error.http_status),
            "attempts": MetadataValue.int(len(record.attempts)),
            "messages": MetadataValue.int(session.message_count),
            "chunks": MetadataValue.int(session.chunk_count),
            "messages_uri": MetadataValue.path(error.messages_uri) if error.messages_uri else None,
        }
        error.metadata = {**self.result_metadata(record, session), **_known(facts), **error.metadata, **more}


def _known(values: Mapping[str, MetadataValue[Any] | None]) -> Metadata:
    """Return the known values, with our prefix."""
    return {f"{METADATA_PREFIX}{name}": value for name, value in values.items() if value is not None}


_START: dict[bool | None, str] = {True: "cold", False: "warm"}


def _link(url: str | None) -> MetadataValue[Any] | None:
    return MetadataValue.url(url) if url else None


def _number(value: float | None, digits: int, *, divisor: int = 1) -> MetadataValue[Any] | None:
    return None if value is None else MetadataValue.float(round(value / divisor, digits))


def _text(text: str | None) -> MetadataValue[Any] | None:
    return MetadataValue.text(text) if text else None
