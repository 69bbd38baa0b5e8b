"""Identifies one execution of a function in Cloud Logging, and builds the filters for its entries. Makes no requests.

The filter language: https://cloud.google.com/logging/docs/view/logging-query-language. Comparisons on separate lines
are joined by AND, which binds weaker than OR.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final
from urllib.parse import quote, urlencode

from dagster_gcf_pipes._functions import CONSOLE

SYSTEM_LOG: Final = "run.googleapis.com/varlog/system"
"""The log in which the platform writes about a Cloud Run service. Source: https://cloud.google.com/run/docs/logging."""
CLOCK_SKEW: Final = timedelta(minutes=1)
"""The largest assumed difference between this machine's clock and the platform's."""


@dataclass(frozen=True)
class LogScope:
    """Identifies one execution of a function in the logs. An attribute is None if it is not known.

    Attributes:
        started: When the call started, by this machine's clock.
        ended: When the call ended, or when it will have ended at the latest.
        trace: The trace ID that was sent with the call: 32 hexadecimal digits.
        project: The project's ID or number.
        service: The name of the function's Cloud Run service.
        execution_id: The ID that the functions framework gave the execution.
        revision: The name of the revision that ran.
        instance_id: The ID of the instance that ran.
    """

    started: datetime
    ended: datetime
    trace: str
    project: str | None = None
    service: str | None = None
    execution_id: str | None = None
    revision: str | None = None
    instance_id: str | None = None

    @property
    def earliest(self) -> datetime:
        """The execution logged nothing before this time."""
        return self.started - CLOCK_SKEW

    @property
    def latest(self) -> datetime:
        """The execution logged nothing after this time."""
        return self.ended + CLOCK_SKEW


def execution_filter(scope: LogScope) -> str:
    """Return the filter for an execution's own entries."""
    return "\n".join([*_service(scope), _own_entries(scope)])


def crash_filter(scope: LogScope) -> str:
    """Return the filter for an execution's own entries and the platform's warnings about its instance.

    Warnings such as "Memory limit of 256 MiB exceeded with 260 MiB used" and "Container terminated on signal 9" are
    about an instance, and may lack the request's trace. If neither revision nor instance is known, the filter finds
    the warnings of all instances of the service.
    """
    about_instance = [f'log_id("{SYSTEM_LOG}")', "severity>=WARNING"]
    if scope.revision:
        about_instance.append(f"resource.labels.revision_name={json.dumps(scope.revision)}")
    if scope.instance_id:
        about_instance.append(f"labels.instanceId={json.dumps(scope.instance_id)}")
    if not scope.service:
        return execution_filter(scope)  # else it would find the warnings of the project's other services
    return "\n".join([*_service(scope), f"{_own_entries(scope)} OR ({' AND '.join(about_instance)})"])


def time_filter(scope: LogScope) -> str:
    """Return the filter for the time in which an execution wrote its entries."""
    return f'timestamp>="{rfc3339(scope.earliest)}"\ntimestamp<="{rfc3339(scope.latest)}"'


def logs_explorer_url(scope: LogScope, *, crashed: bool = False) -> str | None:
    """Return a link to an execution's entries in the Logs Explorer, or None if the project is not known.

    The console uses this format when you share a query: query and time range are parameters of the path. Without a
    time range, the Logs Explorer shows the last hour.

    Args:
        scope: The execution.
        crashed: Whether to include the platform's warnings about the instance. They may lack the trace.
    """
    if not scope.project:
        return None
    query = quote(crash_filter(scope) if crashed else execution_filter(scope), safe="")
    time_range = f"startTime={rfc3339(scope.earliest)};endTime={rfc3339(scope.latest)}"
    return f"{CONSOLE}/logs/query;query={query};{time_range}?{urlencode({'project': scope.project})}"


def rfc3339(moment: datetime) -> str:
    """Format a time as Google's APIs do, in UTC and with milliseconds."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _service(scope: LogScope) -> list[str]:
    service = [f"resource.labels.service_name={json.dumps(scope.service)}"] if scope.service else []
    return ['resource.type="cloud_run_revision"', *service]


def _own_entries(scope: LogScope) -> str:
    """Return the comparison for an execution's own entries. The functions framework labels them with the execution ID.

    An entry's `trace` contains the project's ID. If only the number is known, compare with a part of the value.
    """
    by_id = scope.project and not scope.project.isdigit()
    trace = json.dumps(f"projects/{scope.project}/traces/{scope.trace}" if by_id else scope.trace)
    own = f"trace={trace}" if by_id else f"trace:{trace}"
    if scope.execution_id:
        own += f" OR labels.execution_id={json.dumps(scope.execution_id)}"
    return own
