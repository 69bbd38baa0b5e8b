"""Facts about the current execution, from the request and from the platform."""

import itertools
import os
import re
from dataclasses import dataclass
from typing import Final, cast

from gcf_pipes._metadata_server import read_metadata
from gcf_pipes._once import Once
from gcf_pipes._protocol import OpenedExtras
from gcf_pipes._trace import Headers, Trace

SERVICE_VARIABLE: Final = "K_SERVICE"
REVISION_VARIABLE: Final = "K_REVISION"
"""Cloud Run sets both in every container.

Source: https://cloud.google.com/run/docs/container-contract#env-vars
"""

PROJECT_VARIABLE: Final = "GOOGLE_CLOUD_PROJECT"

EXECUTION_ID_HEADER: Final = "Function-Execution-Id"
"""The request header with the execution's id. functions-framework adds one if it is missing.

Source: functions_framework/execution_id.py, `WsgiMiddleware`.
"""


@dataclass(frozen=True)
class Platform:
    """The Cloud Run instance on which a process runs.

    Attributes:
        service: The Cloud Run service.
        revision: Its revision.
        project_id: The project that has its logs and traces.
        instance_id: The container instance.

    All are None outside Cloud Run.
    """

    service: str | None = None
    revision: str | None = None
    project_id: str | None = None
    instance_id: str | None = None

    @classmethod
    def load(cls) -> "Platform":
        """Ask the environment and, on Cloud Run, the metadata server.

        The server's project comes first: people also set `GOOGLE_CLOUD_PROJECT` to the project of their data.
        """
        service = os.environ.get(SERVICE_VARIABLE)
        if not service:
            return cls()
        instance_id, project_id = read_metadata(["instance/id", "project/project-id"])
        return cls(
            service=service,
            revision=os.environ.get(REVISION_VARIABLE) or None,
            project_id=project_id or os.environ.get(PROJECT_VARIABLE) or None,
            instance_id=instance_id,
        )


@dataclass(frozen=True)
class Execution:
    """One request that this process serves.

    Attributes:
        platform: The Cloud Run instance.
        trace: The request's trace, if it names one.
        execution_id: The id from functions-framework, if that runs the function.
        cold_start: Whether this is the first request of its process.
    """

    platform: Platform
    trace: Trace | None
    execution_id: str | None
    cold_start: bool

    @property
    def opened_extras(self) -> OpenedExtras:
        """The known facts, for `opened`."""
        facts = {
            "project_id": self.platform.project_id,
            "service": self.platform.service,
            "revision": self.platform.revision,
            "instance_id": self.platform.instance_id,
            "execution_id": self.execution_id,
            "trace_id": self.trace.trace_id if self.trace else None,
            "cold_start": self.cold_start,
        }
        return cast("OpenedExtras", {name: fact for name, fact in facts.items() if fact is not None})


class Process:
    """A process of the function, which serves many requests."""

    def __init__(self) -> None:
        self._requests = itertools.count()
        self._platform = Once[Platform]()

    def describe_request(self, headers: Headers) -> Execution:
        """Return facts about a new request. The first one loads the platform: gunicorn may fork before that."""
        return Execution(
            platform=self._platform.get(Platform.load),
            trace=Trace.from_headers(headers),
            execution_id=_execution_id(headers),
            cold_start=next(self._requests) == 0,
        )


def _execution_id(headers: Headers) -> str | None:
    value = headers.get(EXECUTION_ID_HEADER, "")
    return value if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) else None
