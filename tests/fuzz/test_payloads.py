"""Whatever a caller sends: it is a call, or it is refused with a clean 4xx and none of the user's code runs."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.oracle import Request, read_call
from tests.fuzz.payloads import body_of, call, requests
from tests.fuzz.subject import RAN, Subject, running_subject


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    with running_subject() as subject:
        yield subject


def test_call_without_a_mutation_runs(subject: Subject) -> None:
    request = Request(body_of(call()))
    assert read_call(request)
    assert subject.send(request) == RAN


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_call_by_another_method_is_refused(subject: Subject, method: str) -> None:
    assert subject.send(Request(body_of(call()), method)).startswith("400 bad_request")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(request=requests)
def test_request_runs_as_a_call_or_gets_a_clean_4xx(subject: Subject, request: Request) -> None:
    subject.send(request)
