"""The headers that carry the trace of a call."""

import re
from collections.abc import Iterator

import pytest
from opentelemetry import context, trace

from dagster_gcf_pipes._trace import trace_of_call

TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7


@pytest.fixture(params=[0, 1], ids=["not sampled", "sampled"])
def sampled(request: pytest.FixtureRequest) -> Iterator[int]:
    """Whether the current OpenTelemetry span is sampled."""
    span = trace.SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=trace.TraceFlags(request.param))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    yield request.param
    context.detach(token)


def test_the_current_opentelemetry_context_is_continued(sampled: int) -> None:
    call = trace_of_call()
    assert call.trace_id == f"{TRACE_ID:032x}"
    assert call.headers == {
        "traceparent": f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-0{sampled}",
        "X-Cloud-Trace-Context": f"{TRACE_ID:032x}/{SPAN_ID};o={sampled}",
    }


def test_without_one_a_trace_is_new_and_sampled() -> None:
    first, second = trace_of_call(), trace_of_call()
    assert first.trace_id != second.trace_id
    assert re.fullmatch(rf"00-{first.trace_id}-[0-9a-f]{{16}}-01", first.headers["traceparent"])
    assert re.fullmatch(rf"{first.trace_id}/[0-9]+;o=1", first.headers["X-Cloud-Trace-Context"])
