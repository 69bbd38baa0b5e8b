"""One execution of a function, and how its entries are found in Cloud Logging. Pure: nothing is looked up here.

Source of the language: https://cloud.google.com/logging/docs/view/logging-query-language. Comparisons on lines of their
own are joined by AND, which binds weaker than OR.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

SYSTEM_LOG: Final = "run.googleapis.com/varlog/system"
"""The platform's own log of a Cloud Run service. Source: https://cloud.google.com/run/docs/logging."""
CLOCK_SKEW: Final = timedelta(minutes=1)
"""By how much the clock of this machine and the platform's may differ."""


@dataclass(frozen=True)
class LogScope:
    """What identifies one execution of a function in the logs. What is not known is None.

    Attributes:
        started: When the call started, by this machine's clock.
        ended: When it ended, or the latest moment at which it will have.
        trace: The trace ID that was sent with the call: 32 hexadecimal digits.
        project: The ID of the function's project, or the project's number.
        service: The name of its Cloud Run service.
        execution_id: The ID that the functions framework gave the scope.
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
        """Before this, nothing of the execution was logged."""
        return self.started - CLOCK_SKEW

    @property
    def latest(self) -> datetime:
        """After this, nothing of the execution was logged."""
        return self.ended + CLOCK_SKEW


def execution_filter(scope: LogScope) -> str:
    """Return the filter that finds the entries of an scope, and nothing else."""
    return "\n".join([*_service(scope), _own_entries(scope)])


def crash_filter(scope: LogScope) -> str:
    """Return the filter that finds the entries of an scope, and the platform's warnings of the instance it ran on.

    "Memory limit of 256 MiB exceeded with 260 MiB used" and "Container terminated on signal 9" are about an instance,
    and need not bear the trace of the request that it served. Where neither revision nor instance is known, the
    warnings of all instances of the service come with them.
    """
    about_instance = [f'log_id("{SYSTEM_LOG}")', "severity>=WARNING"]
    if scope.revision:
        about_instance.append(f"resource.labels.revision_name={json.dumps(scope.revision)}")
    if scope.instance_id:
        about_instance.append(f"labels.instanceId={json.dumps(scope.instance_id)}")
    if not scope.service:
        return execution_filter(scope)  # the project's other services would join in
    return "\n".join([*_service(scope), f"{_own_entries(scope)} OR ({' AND '.join(about_instance)})"])


def time_filter(scope: LogScope) -> str:
    """Return the filter of the time in which the entries of an execution were written."""
    return f'timestamp>="{rfc3339(scope.earliest)}"\ntimestamp<="{rfc3339(scope.latest)}"'


def rfc3339(moment: datetime) -> str:
    """Return a moment as Google's APIs write it, in UTC and to the millisecond."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _service(scope: LogScope) -> list[str]:
    service = [f"resource.labels.service_name={json.dumps(scope.service)}"] if scope.service else []
    return ['resource.type="cloud_run_revision"', *service]


def _own_entries(scope: LogScope) -> str:
    """Return the comparison that an execution's own entries meet; the functions framework labels them with its ID.

    An entry's `trace` names the project by its ID. Where only the number is known, part of the value has to do.
    """
    by_id = scope.project and not scope.project.isdigit()
    trace = json.dumps(f"projects/{scope.project}/traces/{scope.trace}" if by_id else scope.trace)
    own = f"trace={trace}" if by_id else f"trace:{trace}"
    if scope.execution_id:
        own += f" OR labels.execution_id={json.dumps(scope.execution_id)}"
    return own
