"""Which buckets and keys a call may name."""

import pytest
from gcf_pipes import PipesRequestError
from gcf_pipes._allowed_locations import AllowedLocations

from tests.quotes import Quote

LAKE = AllowedLocations(buckets=frozenset({"lake", "pond"}), key_prefix="dagster-pipes")


@pytest.mark.parametrize("bucket", ["lake", "pond"])
def test_accepts_its_buckets_below_its_prefix(bucket: str) -> None:
    LAKE.check(bucket, "dagster-pipes/run/step/session", "messages")


def test_accepts_any_bucket_and_key_by_default() -> None:
    AllowedLocations().check("any-bucket", "", "messages")
    AllowedLocations().check("any-bucket", "some/Präfix", "messages")


@pytest.mark.parametrize("allowed_locations", [LAKE, AllowedLocations(buckets=frozenset({"lake"}))])
def test_refuses_another_bucket_without_naming_its_own(allowed_locations: AllowedLocations) -> None:
    with pytest.raises(PipesRequestError, match="'bucket' in the messages params") as caught:
        allowed_locations.check("secrets", "dagster-pipes/x", "messages")
    assert "lake" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["", "dagster-pipes", "dagster-pipes-too/x", "other/x", "/dagster-pipes/x", "dagster-pipes/"]
)
def test_refuses_a_key_that_is_not_below_its_prefix(key: str) -> None:
    with pytest.raises(PipesRequestError, match="the key in the context params"):
        LAKE.check("lake", key, "context")


@pytest.mark.parametrize(
    "bucket", ["b", "Lake", "gs://lake", "lake/o/x?alt=media", "../lake", "lake\n", "läke", "l" * 223]
)
def test_refuses_an_invalid_bucket_name(bucket: str) -> None:
    """It would become a part of the URL."""
    with pytest.raises(PipesRequestError, match="'bucket' in the context params to be the name of a bucket"):
        AllowedLocations().check(bucket, "x", "context")


@pytest.mark.parametrize("allowed_locations", [LAKE, AllowedLocations()])
@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "./x", "a//b", "/x", "x/", "a\nb", "a\x00b", "\ud800", "x" * 1000]
)
def test_refuses_a_key_that_is_not_plain(allowed_locations: AllowedLocations, name: str) -> None:
    with pytest.raises(PipesRequestError, match="the key in the messages params"):
        allowed_locations.check("lake", f"dagster-pipes/{name}", "messages")


@pytest.mark.parametrize(
    ("buckets", "key_prefix", "expected"),
    [
        ("", "", AllowedLocations()),
        ("lake", "", AllowedLocations(frozenset({"lake"}))),
        (" lake , pond,", "/dagster-pipes/", LAKE),
    ],
)
def test_is_read_from_the_environment(
    buckets: str, key_prefix: str, expected: AllowedLocations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCF_PIPES_BUCKETS", buckets)
    monkeypatch.setenv("GCF_PIPES_KEY_PREFIX", key_prefix)
    assert AllowedLocations.from_environment() == expected


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("buckets_variable", "GCF_PIPES_BUCKETS", "gs://lake"),
        ("key_prefix_variable", "GCF_PIPES_KEY_PREFIX", "a//b"),
    ],
)
def test_the_error_of_a_variable_is_quoted(
    name: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch, quote: Quote
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match="Expected") as caught:
        AllowedLocations.from_environment()
    quote(name, str(caught.value))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *[("GCF_PIPES_BUCKETS", value) for value in (",", " , ,", "gs://lake", "lake, gs://pond", "Lake", "lake pond")],
        *[("GCF_PIPES_KEY_PREFIX", value) for value in ("/", " // ", "a//b", "..", "a/../b", "a\nb")],
    ],
)
def test_variable_that_names_nothing_is_refused(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=rf"(?s)Expected {variable} to be .*\nFix: .* or unset it"):
        AllowedLocations.from_environment()
