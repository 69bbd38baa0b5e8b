"""A request's trace, from the headers of Google Cloud."""

import re
import secrets
from dataclasses import dataclass
from typing import Final, Protocol

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
