"""Which trace headers are valid, and what they say."""

import re

import pytest
from gcf_pipes._execution import Trace
from hypothesis import given
from hypothesis import strategies as st

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-09", True),
        (f"00-{TRACE}-{SPAN}-08", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_valid_traceparent_is_read(value: str, sampled: bool) -> None:
    assert Trace.from_headers({"traceparent": value}) == Trace(TRACE, SPAN, sampled=sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
        f"00-{'٣' * 32}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_ignored(value: str) -> None:
    assert Trace.from_headers({"traceparent": value}) is None
    fallback = Trace.from_headers({"traceparent": value, "X-Cloud-Trace-Context": f"{'a' * 32}/1"})
    assert fallback == Trace("a" * 32, "0000000000000001", sampled=False)


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (f"{TRACE}/74;o=1", Trace(TRACE, "000000000000004a", sampled=True)),
        (f"{TRACE}/74;o=0", Trace(TRACE, "000000000000004a", sampled=False)),
        (f"{TRACE}/74;o=", Trace(TRACE, "000000000000004a", sampled=False)),
        (f"{TRACE}/74", Trace(TRACE, "000000000000004a", sampled=False)),
        (f"{TRACE.upper()}/{2**64 - 1};o=1", Trace(TRACE, "f" * 16, sampled=True)),
    ],
)
def test_a_valid_cloud_trace_context_is_read(value: str, trace: Trace) -> None:
    assert Trace.from_headers({"X-Cloud-Trace-Context": value}) == trace


@pytest.mark.parametrize("value", [TRACE, f"{TRACE}/", f"{TRACE};o=1", f"{TRACE}/;o=1", f"{TRACE}/0;o=1"])
def test_a_cloud_trace_context_without_a_span_gets_one_of_its_own(value: str) -> None:
    trace = Trace.from_headers({"X-Cloud-Trace-Context": value})
    assert trace is not None
    assert trace.trace_id == TRACE
    assert Trace.from_headers({"traceparent": trace.traceparent}) == trace
    assert trace != Trace.from_headers({"X-Cloud-Trace-Context": value})


@pytest.mark.parametrize(
    "value",
    ["", "/1;o=1", f"{'0' * 32}/1;o=1", f"{TRACE}0/1", f"{TRACE}/x", f"{TRACE}/{2**64}", f"{TRACE}/1;o=1;x", "g" * 32],
)
def test_an_invalid_cloud_trace_context_is_ignored(value: str) -> None:
    assert Trace.from_headers({"X-Cloud-Trace-Context": value}) is None


def test_traceparent_comes_first() -> None:
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Cloud-Trace-Context": f"{'a' * 32}/1;o=1"}
    assert Trace.from_headers(headers) == Trace(TRACE, SPAN, sampled=True)


@given(st.dictionaries(st.sampled_from(["traceparent", "X-Cloud-Trace-Context"]), st.text(max_size=80)))
def test_any_headers_give_a_valid_traceparent_or_none(headers: dict[str, str]) -> None:
    trace = Trace.from_headers(headers)
    assert trace is None or re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", trace.traceparent)
