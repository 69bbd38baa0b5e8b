"""Whatever a caller sends: it is a call, or it is refused with a clean 4xx and none of the user's code runs."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import RAN, Subject, may_run, running_subject
from tests.fuzz.payloads import body_of, call, payloads

pytestmark = pytest.mark.filterwarnings("ignore:`include_stdio_in_messages` is not supported")


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    with running_subject() as subject:
        yield subject


def test_call_without_a_mutation_runs(subject: Subject) -> None:
    assert may_run(body_of(call()))
    assert subject.send(body_of(call())) == RAN


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=payloads)
def test_payload_runs_as_a_call_or_gets_a_clean_4xx(subject: Subject, body: bytes) -> None:
    subject.send(body)
