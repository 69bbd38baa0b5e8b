"""The trace of one call: continued from the current OpenTelemetry context when there is one, else new."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CallTrace:
    """The trace that a call belongs to.

    Attributes:
        trace_id: 32 hexadecimal digits.
        headers: The request headers that carry it.
    """

    trace_id: str
    headers: Mapping[str, str]


def trace_of_call() -> CallTrace:
    """Return the current trace, or a new one.

    A new one asks to be sampled: Cloud Run's own spans cost nothing.
    Source: https://cloud.google.com/run/docs/trace ("Billing charges").
    """
    headers = _current_headers() or {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"}
    _version, trace_id, span_id, flags = headers["traceparent"].split("-")
    return CallTrace(trace_id, {**headers, "X-Cloud-Trace-Context": _google_header(trace_id, span_id, flags)})


def _current_headers() -> dict[str, str]:
    """Return `traceparent` and `tracestate` of the current OpenTelemetry context, or nothing."""
    try:
        from opentelemetry.trace.propagation.tracecontext import (  # it need not be installed
            TraceContextTextMapPropagator,
        )
    except ImportError:
        return {}
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def _google_header(trace_id: str, span_id: str, flags: str) -> str:
    """Return the value of Google's own header, for what does not know the W3C's yet.

    Source: https://cloud.google.com/trace/docs/trace-context (`TRACE_ID/SPAN_ID;o=OPTIONS`, the span in decimal).
    """
    return f"{trace_id}/{int(span_id, 16)};o={int(flags, 16) & 1}"
