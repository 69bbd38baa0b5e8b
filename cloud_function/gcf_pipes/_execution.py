"""Facts about the current execution, from the request and from the platform."""

import itertools
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Final, Protocol, cast

from gcf_pipes._shared.once import Once
from gcf_pipes._shared.protocol import OpenedExtras
from gcf_pipes._usage import Container, UsageMeter

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

METADATA_HOST_VARIABLE: Final = "GCE_METADATA_HOST"
"""Names another metadata server, as for google-auth."""

METADATA_HOST: Final = "169.254.169.254"
"""The metadata server's address. No timeout would bound a lookup of its name."""

METADATA_TIMEOUT: Final = 1.0
"""Seconds to wait for the connection and for each response. The server is on the same machine."""

TRACEPARENT_HEADER: Final = "traceparent"
CLOUD_TRACE_HEADER: Final = "X-Cloud-Trace-Context"

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CLOUD_TRACE: Final = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{0,20}))?(?:;o=([0-9]?))?")
_INVALID_VERSION: Final = "ff"
_SAMPLED: Final = 1


class Headers(Protocol):
    """The headers of a request: Flask's, or a dictionary."""

    def get(self, name: str, default: str, /) -> str:
        """Return a header's value, or the default if it is missing."""


@dataclass(frozen=True)
class Trace:
    """The position of a request in a distributed trace.

    Attributes:
        trace_id: 32 lowercase hexadecimal digits.
        span_id: The caller's span, 16 lowercase hexadecimal digits.
        sampled: Whether the caller may have recorded its span.
    """

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def from_headers(cls, headers: Headers) -> "Trace | None":
        """Read `traceparent`, or else `X-Cloud-Trace-Context`.

        An invalid header counts as missing: it is no reason to refuse a request.

        Sources: https://www.w3.org/TR/trace-context/ ("Versioning of traceparent"),
            https://cloud.google.com/trace/docs/trace-context
        """
        return _parse_traceparent(headers.get(TRACEPARENT_HEADER, "")) or _parse_cloud_trace(
            headers.get(CLOUD_TRACE_HEADER, "")
        )

    @property
    def traceparent(self) -> str:
        """The value of a `traceparent` header that continues this trace."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


@dataclass(frozen=True)
class Platform:
    """The Cloud Run instance on which a process runs.

    Attributes:
        service: The Cloud Run service.
        revision: Its revision.
        project_id: The project that has its logs and traces.
        instance_id: The container instance.
        region: Its region.
        memory_limit_bytes: Its memory limit.
        cpus: Its CPUs.

    All are None outside Cloud Run.
    """

    service: str | None = None
    revision: str | None = None
    project_id: str | None = None
    instance_id: str | None = None
    region: str | None = None
    memory_limit_bytes: int | None = None
    cpus: float | None = None

    @classmethod
    def load(cls) -> "Platform":
        """Ask the environment and, on Cloud Run, the metadata server.

        The server's project comes first: people also set `GOOGLE_CLOUD_PROJECT` to the project of their data.
        """
        service = os.environ.get(SERVICE_VARIABLE)
        if not service:
            return cls()
        instance_id, project_id, region = read_metadata(["instance/id", "project/project-id", "instance/region"])
        container = Container()
        return cls(
            service=service,
            revision=os.environ.get(REVISION_VARIABLE) or None,
            project_id=project_id or os.environ.get(PROJECT_VARIABLE) or None,
            instance_id=instance_id,
            region=(region or "").rpartition("/")[2] or None,  # projects/NUMBER/regions/REGION
            memory_limit_bytes=container.memory_limit,
            cpus=container.cpus,
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
            "region": self.platform.region,
            "memory_limit_bytes": self.platform.memory_limit_bytes,
            "cpus": self.platform.cpus,
            "execution_id": self.execution_id,
            "trace_id": self.trace.trace_id if self.trace else None,
            "cold_start": self.cold_start,
        }
        return cast("OpenedExtras", {name: fact for name, fact in facts.items() if fact is not None})


class Process:
    """A process of the function, which serves many requests.

    Attributes:
        meter: Measures what they use.
    """

    def __init__(self) -> None:
        on_cloud_run = bool(os.environ.get(SERVICE_VARIABLE))
        self.meter = UsageMeter(Container() if on_cloud_run else None)
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


def _parse_traceparent(value: str) -> Trace | None:
    match = _TRACEPARENT.fullmatch(value)
    if not match:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == _INVALID_VERSION or (version == "00" and rest) or _is_zero(trace_id) or _is_zero(span_id):
        return None
    return Trace(trace_id, span_id, sampled=bool(int(flags, 16) & _SAMPLED))


def _parse_cloud_trace(value: str) -> Trace | None:
    match = _CLOUD_TRACE.fullmatch(value)
    if not match or _is_zero(match[1]):
        return None
    span = int(match[2] or 0)
    if span.bit_length() > 64:  # noqa: PLR2004 - a span id has 64 bits
        return None
    # unlike this header, a `traceparent` must name a span: then the request gets its own
    span_id = f"{span:016x}" if span else secrets.token_hex(8)
    return Trace(match[1].lower(), span_id, sampled=match[3] == "1")


def _is_zero(digits: str) -> bool:
    return not digits.strip("0")


def read_metadata(paths: Sequence[str]) -> list[str | None]:
    """Read values from Google Cloud's metadata server, over one connection and past any proxy.

    A value that the server does not return is None.

    Args:
        paths: Paths below `/computeMetadata/v1/`.

    Source: https://cloud.google.com/run/docs/container-contract#metadata-server
    """
    host = os.environ.get(METADATA_HOST_VARIABLE) or METADATA_HOST
    try:
        with closing(HTTPConnection(host, timeout=METADATA_TIMEOUT)) as connection:
            return [_read_value(connection, path) for path in paths]
    except (OSError, HTTPException):
        return [None] * len(paths)


def _read_value(connection: HTTPConnection, path: str) -> str | None:
    connection.request("GET", f"/computeMetadata/v1/{path}", headers={"Metadata-Flavor": "Google"})
    response = connection.getresponse()
    body = response.read().decode("utf-8", errors="replace").strip()
    return body if response.status == 200 and body else None  # noqa: PLR2004 - OK
