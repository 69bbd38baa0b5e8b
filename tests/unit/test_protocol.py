"""The names of a session's objects."""

import pytest
from gcf_pipes._shared.protocol import SessionPrefix

BELOW_PREFIX = SessionPrefix(bucket="lake", path="dagster-pipes/run/step/session")
AT_ROOT = SessionPrefix(bucket="lake", path="")


def test_chunks_are_numbered_json_objects_below_the_prefix() -> None:
    assert BELOW_PREFIX.chunk_key(1) == "dagster-pipes/run/step/session/1.json"
    assert BELOW_PREFIX.chunk_key(12) == "dagster-pipes/run/step/session/12.json"


def test_context_is_next_to_the_chunks() -> None:
    assert BELOW_PREFIX.context_key == "dagster-pipes/run/step/session/context.json"


def test_uri_is_the_prefix_with_a_slash_at_its_end() -> None:
    assert BELOW_PREFIX.uri == "gs://lake/dagster-pipes/run/step/session/"


def test_without_prefix_the_keys_start_without_a_slash() -> None:
    assert AT_ROOT.chunk_key(1) == "1.json"
    assert AT_ROOT.context_key == "context.json"


def test_without_prefix_the_uri_is_the_bucket() -> None:
    assert AT_ROOT.uri == "gs://lake/"


@pytest.mark.parametrize("prefix", ["", "some/prefix"])
@pytest.mark.parametrize(
    ("name", "index"),
    [("1.json", 1), ("120.json", 120), ("0.json", None), ("01.json", None), ("context.json", None), ("x/1.json", None)],
)
def test_number_of_the_chunk_that_an_object_holds(prefix: str, name: str, index: int | None) -> None:
    session = SessionPrefix("lake", prefix)
    assert session.chunk_index(f"{session.object_prefix}{name}") == index
    assert SessionPrefix("lake", "another").chunk_index(f"{session.object_prefix}{name}") is None
