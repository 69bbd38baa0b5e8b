"""Any request is a call, or gets a clean 4xx without running the user's code."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.entry_point import RAN, EntryPointUnderTest, run_entry_point
from tests.fuzz.oracle import Request, read_call
from tests.fuzz.payloads import body_of, call, requests


@pytest.fixture(scope="module")
def entry_point() -> Iterator[EntryPointUnderTest]:
    with run_entry_point() as entry_point:
        yield entry_point


def test_a_valid_call_runs(entry_point: EntryPointUnderTest) -> None:
    request = Request(body_of(call()))
    assert read_call(request)
    assert entry_point.send(request) == RAN


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_http_method_is_refused(entry_point: EntryPointUnderTest, method: str) -> None:
    assert entry_point.send(Request(body_of(call()), method)).startswith("400 bad_request")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(request=requests)
def test_any_request_runs_as_a_call_or_gets_a_clean_4xx(entry_point: EntryPointUnderTest, request: Request) -> None:
    entry_point.send(request)
