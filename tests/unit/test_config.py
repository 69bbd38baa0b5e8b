"""What the fields of the resource accept when it is defined, and again when an EnvVar gets its value."""

import math
import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from dagster import ConfigurableResource, DagsterResourceFunctionError, EnvVar, build_resources
from pydantic import ValidationError

from dagster_gcf_pipes import PipesCloudFunctionClient

DURATIONS = ["function_timeout", "connect_timeout", "drain_timeout", "poll_interval"]
CLEANUPS = ["always", "on_success", "never"]
VARIABLE = "PIPES_TEST_VALUE"
EMAILS = ["dagster@my-project.iam.gserviceaccount.com", "123-compute@developer.gserviceaccount.com"]
NOT_EMAILS = ["", "dagster", "serviceAccount:dagster@my-project.iam.gserviceaccount.com", "a b@c", "a@b@c", "a@b/c"]
VIEW = "projects/my-project/locations/global/buckets/_Default/views/orders"
VIEW_PARENTS = ["folders/123456789012", "organizations/123456789012", "billingAccounts/01ABCD-234567-89EFAB"]

ACCEPTED: dict[str, list[Any]] = {
    "bucket": ["abc", "my-bucket", "my_bucket-1", "a.b.example.com", "a" * 63],
    "key_prefix": ["pipes", "dagster-pipes", "team_a/dagster.pipes/v1", "env=prod/kind=pipes"],
    **{field: [1, 3600] for field in DURATIONS},
    "inline_context_limit": [0, 1, 32 * 1024 * 1024],
    "cleanup": CLEANUPS,
    "log_lines_per_entry": [1, 200, 5000],
    "event_log_level": ["debug", "info", "warning", "error", "critical", "INFO"],
    "impersonate_service_account": EMAILS,
    "retry_on": [[], ["429"], ["4xx", "503", "no_response"]],
    "project": [None, "my-project-1234", "example.com:my-project", "123456789012"],
    "region": [None, "europe-west1", "us-central1", "northamerica-northeast2", "me-central2"],
    "log_view": [None, VIEW, *(VIEW.replace("projects/my-project", parent) for parent in VIEW_PARENTS)],
}
REFUSED: dict[str, tuple[str, list[Any]]] = {
    "bucket": (
        "expected the name of a bucket, without `gs://` and without a path",
        ["ab", "My-Bucket", "-bucket", "bucket-", "my bucket", "gs://bucket", "bucket/prefix", "bucket\n"],
    ),
    "key_prefix": (
        "key_prefix",
        ["", "/", "/pipes", "pipes/", "a//b", "a b", "a*", "a\n", ".", "..", "a/../b", "a/.", "a" * 501],
    ),
    **{field: (field, [0, -1, -0.5, 3601, math.nan, math.inf, "soon"]) for field in DURATIONS},
    "inline_context_limit": ("inline_context_limit", [-1, 0.5, "large"]),
    "cleanup": ("expected 'always', 'on_success' or 'never', got 'sometimes'", ["sometimes"]),
    "log_lines_per_entry": ("log_lines_per_entry", [0, -1, 1.5, "many"]),
    "event_log_level": (
        "expected one of 'debug', 'info', 'warning', 'error', 'critical', got",
        ["", "notice", "info\n"],
    ),
    "impersonate_service_account": ("expected the email of a service account, such as NAME@", NOT_EMAILS),
    "audience": ("expected the audience of an ID token", ["", "two words", "https://a.run.app\n"]),
    "retry_on": (
        "expected an HTTP status such as '429', '4xx', '5xx' or 'no_response'",
        [["200"], ["timeout"], ["5XX"], [""]],
    ),
    "project": (
        "expected the ID of a project, such as 'my-project-1234', got",
        ["", "short", "My-Project", "my_project", "projects/my-project", "my-project-", "a" * 31],
    ),
    "region": (
        "expected a region, such as 'europe-west1', without a zone, got",
        ["", "europe", "europe-west1-b", "EUROPE-WEST1", "locations/europe-west1", "EU"],
    ),
    "log_view": (
        "expected the full name of a log view, projects/P/locations/L/buckets",
        ["orders", VIEW.replace("projects/", ""), VIEW.replace("projects", "accounts")],
    ),
}


def define(**fields: Any) -> PipesCloudFunctionClient:
    return PipesCloudFunctionClient(**{"bucket": "my-bucket", **fields})


def resolved(client: object, **arguments: Any) -> PipesCloudFunctionClient:
    """Return the resource as Dagster hands it to an asset."""
    with build_resources({"cloud_function": client}, **arguments) as resources:
        return cast("PipesCloudFunctionClient", resources.cloud_function)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in ACCEPTED.items() for value in values])
def test_accepts_a_good_value(field: str, value: Any) -> None:
    assert getattr(define(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "text", "value"), [(field, text, value) for field, (text, values) in REFUSED.items() for value in values]
)
def test_refuses_a_bad_value(field: str, text: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=re.escape(text)):
        define(**{field: value})


@pytest.mark.parametrize("bucket", ["a" * 64, "a..b"])
def test_refuses_a_bucket_name_that_cloud_storage_cannot_have(bucket: str) -> None:
    with pytest.raises(ValidationError, match="bucket"):
        define(bucket=bucket)


def test_accepts_a_fraction_of_a_second_as_poll_interval() -> None:
    assert define(poll_interval=0.001).poll_interval == 0.001


def test_accepts_delegates() -> None:
    client = define(impersonate_service_account=EMAILS[0], impersonation_delegates=EMAILS)
    assert client.impersonation_delegates == EMAILS


@pytest.mark.parametrize("email", NOT_EMAILS)
def test_refuses_a_bad_delegate(email: str) -> None:
    with pytest.raises(ValidationError, match="expected the email of a service account, such as NAME@"):
        define(impersonate_service_account=EMAILS[0], impersonation_delegates=[email])


def test_refuses_delegates_without_impersonation() -> None:
    with pytest.raises(ValidationError, match="expected `impersonate_service_account` with"):
        define(impersonation_delegates=EMAILS)


def test_delegates_can_come_from_env_vars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, EMAILS[1])
    client = define(impersonate_service_account=EMAILS[0], impersonation_delegates=[EnvVar(VARIABLE)])
    assert resolved(client).impersonation_delegates == [EMAILS[1]]


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("funtion_timeout", "did you mean 'function_timeout'?"),
        ("key_prefx", "did you mean 'key_prefix'?"),
        ("function_url", "it is an argument of `run`"),
        ("zone", "expected some of ['messages', 'bucket', 'key_prefix'"),
    ],
)
def test_refuses_an_unknown_field(field: str, meant: str) -> None:
    with pytest.raises(ValidationError) as caught:
        define(**{field: "a"})
    assert f"there is no field {field!r}: {meant}" in str(caught.value)


class Lake(ConfigurableResource):
    """A resource that has the client as a field of its own."""

    client: PipesCloudFunctionClient


def test_can_be_a_field_of_another_resource() -> None:
    assert Lake(client=define(function_timeout=3)).client.function_timeout == 3


class PrefixedClient(PipesCloudFunctionClient):
    """A client with another field."""

    table_prefix: str


def test_a_subclass_can_have_further_fields() -> None:
    client = PrefixedClient(bucket="my-bucket", table_prefix="raw")
    assert resolved(client).bucket == "my-bucket"
    assert client.table_prefix == "raw"


def test_every_field_is_described() -> None:
    fields = PipesCloudFunctionClient.model_fields
    assert [name for name, field in fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("field", "variable", "text", "value"),
    [
        ("bucket", EnvVar, "lake", "lake"),
        ("key_prefix", EnvVar, "team/pipes", "team/pipes"),
        ("impersonate_service_account", EnvVar, EMAILS[0], EMAILS[0]),
        ("audience", EnvVar, "https://orders.example.com", "https://orders.example.com"),
        ("cleanup", EnvVar, "always", "always"),
        ("project", EnvVar, "my-project", "my-project"),
        ("region", EnvVar, "europe-west1", "europe-west1"),
        *((field, EnvVar.int, "5", 5) for field in DURATIONS[:3]),
        ("inline_context_limit", EnvVar.int, "1024", 1024),
        *(("forward_logs", EnvVar, text, True) for text in ("true", "True", "1", "yes")),
        *(("forward_logs", EnvVar, text, False) for text in ("false", "FALSE", "0", "")),
    ],
)
def test_env_var_is_resolved_at_initialization(
    field: str, variable: Callable[[str], object], text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    client = define(**{field: variable(VARIABLE)})
    monkeypatch.setenv(VARIABLE, text)
    assert getattr(resolved(client), field) == value


@pytest.mark.parametrize(
    ("field", "variable", "text"),
    [
        ("bucket", EnvVar, "gs://lake"),
        ("key_prefix", EnvVar, "/pipes/"),
        ("impersonate_service_account", EnvVar, "user:somebody@example.com"),
        ("audience", EnvVar, "two words"),
        ("inline_context_limit", EnvVar.int, "-1"),
    ],
)
def test_bad_env_var_fails_the_initialization(
    field: str, variable: Callable[[str], object], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(DagsterResourceFunctionError) as caught:
        resolved(define(**{field: variable(VARIABLE)}))
    assert isinstance(caught.value.__cause__, ValidationError)
    assert field in str(caught.value.__cause__)
    assert text in str(caught.value.__cause__)


@pytest.mark.parametrize("cleanup", CLEANUPS)
def test_cleanup_can_be_chosen_at_launch(cleanup: str) -> None:
    config = {"cloud_function": {"config": {"bucket": "my-bucket", "cleanup": cleanup}}}
    assert resolved(PipesCloudFunctionClient.configure_at_launch(), resource_config=config).cleanup == cleanup
