"""What the fields of the resource accept when it is defined, and again when an EnvVar gets its value."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from dagster import ConfigurableResource, DagsterResourceFunctionError, EnvVar, asset, materialize
from pydantic import ValidationError

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes._config import ProjectId, Region

SECONDS = ["function_timeout", "connect_timeout", "drain_timeout"]
CLEANUPS = ["always", "on_success", "never"]
VARIABLE = "PIPES_TEST_VALUE"


def define(**fields: Any) -> PipesCloudFunctionClient:
    return PipesCloudFunctionClient(**{"bucket": "my-bucket", **fields})


def resolved(client: object, **arguments: Any) -> PipesCloudFunctionClient:
    """Return the resource as Dagster hands it to an asset."""
    seen: list[PipesCloudFunctionClient] = []

    @asset
    def trivial(cloud_function: PipesCloudFunctionClient) -> None:
        seen.append(cloud_function)

    materialize([trivial], resources={"cloud_function": client}, **arguments)
    return seen[0]


@pytest.mark.parametrize("bucket", ["abc", "my-bucket", "my_bucket-1", "a.b.example.com", "a" * 63])
def test_accepts_a_bucket_name(bucket: str) -> None:
    assert define(bucket=bucket).bucket == bucket


@pytest.mark.parametrize(
    "bucket", ["", "ab", "My-Bucket", "-bucket", "bucket-", "my bucket", "gs://bucket", "bucket/prefix", "bucket\n"]
)
def test_refuses_a_bad_bucket_name(bucket: str) -> None:
    with pytest.raises(ValidationError, match="expected the name of a bucket, without `gs://` and without a path"):
        define(bucket=bucket)


@pytest.mark.parametrize("bucket", ["a" * 64, "a..b"])
def test_refuses_a_bucket_name_that_cloud_storage_cannot_have(bucket: str) -> None:
    with pytest.raises(ValidationError, match="bucket"):
        define(bucket=bucket)


@pytest.mark.parametrize("key_prefix", ["pipes", "dagster-pipes", "team_a/dagster.pipes/v1", "env=prod/kind=pipes"])
def test_accepts_a_key_prefix(key_prefix: str) -> None:
    assert define(key_prefix=key_prefix).key_prefix == key_prefix


@pytest.mark.parametrize(
    "key_prefix", ["", "/", "/pipes", "pipes/", "a//b", "a b", "a*", "a\n", ".", "..", "a/../b", "a/.", "a" * 501]
)
def test_refuses_a_bad_key_prefix(key_prefix: str) -> None:
    with pytest.raises(ValidationError, match="key_prefix"):
        define(key_prefix=key_prefix)


@pytest.mark.parametrize("field", [*SECONDS, "poll_interval"])
@pytest.mark.parametrize("seconds", [1, 3600])
def test_accepts_a_duration(field: str, seconds: int) -> None:
    assert getattr(define(**{field: seconds}), field) == seconds


def test_accepts_a_fraction_of_a_second_as_poll_interval() -> None:
    assert define(poll_interval=0.001).poll_interval == 0.001


@pytest.mark.parametrize("field", [*SECONDS, "poll_interval"])
@pytest.mark.parametrize("seconds", [0, -1, -0.5, 3601, math.nan, math.inf, "soon"])
def test_refuses_a_duration_that_is_none(field: str, seconds: float) -> None:
    with pytest.raises(ValidationError, match=field):
        define(**{field: seconds})


@pytest.mark.parametrize("limit", [0, 1, 32 * 1024 * 1024])
def test_accepts_an_inline_context_limit(limit: int) -> None:
    assert define(inline_context_limit=limit).inline_context_limit == limit


@pytest.mark.parametrize("limit", [-1, 0.5, "large"])
def test_refuses_a_bad_inline_context_limit(limit: object) -> None:
    with pytest.raises(ValidationError, match="inline_context_limit"):
        define(inline_context_limit=limit)


@pytest.mark.parametrize("cleanup", CLEANUPS)
def test_accepts_a_cleanup(cleanup: str) -> None:
    assert define(cleanup=cleanup).cleanup == cleanup


def test_refuses_another_cleanup_and_names_the_choices() -> None:
    with pytest.raises(ValidationError, match="expected 'always', 'on_success' or 'never', got 'sometimes'"):
        define(cleanup="sometimes")


EMAILS = ["dagster@my-project.iam.gserviceaccount.com", "123-compute@developer.gserviceaccount.com"]
NO_EMAILS = ["", "dagster", "serviceAccount:dagster@my-project.iam.gserviceaccount.com", "a b@c", "a@b@c", "a@b/c"]


@pytest.mark.parametrize("email", EMAILS)
def test_accepts_service_accounts_to_impersonate(email: str) -> None:
    client = define(impersonate_service_account=email, impersonation_delegates=[email])
    assert (client.impersonate_service_account, client.impersonation_delegates) == (email, [email])


@pytest.mark.parametrize("email", NO_EMAILS)
def test_refuses_a_service_account_that_is_none(email: str) -> None:
    with pytest.raises(ValidationError, match="expected the email of a service account, such as NAME@"):
        define(impersonate_service_account=email)
    with pytest.raises(ValidationError, match="expected the email of a service account, such as NAME@"):
        define(impersonate_service_account=EMAILS[0], impersonation_delegates=[email])


def test_refuses_delegates_of_no_impersonation() -> None:
    with pytest.raises(ValidationError, match="expected `impersonate_service_account` with"):
        define(impersonation_delegates=EMAILS)


@pytest.mark.parametrize("audience", ["", "two words", "https://a.run.app\n"])
def test_refuses_an_audience_that_is_none(audience: str) -> None:
    with pytest.raises(ValidationError, match="expected the audience of an ID token"):
        define(audience=audience)


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
        ("zone", "expected some of ['bucket', 'key_prefix', 'project'"),
    ],
)
def test_refuses_a_field_that_there_is_not(field: str, meant: str) -> None:
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
        ("inline_context_limit", EnvVar.int, "1024", 1024),
        *(("forward_logs", EnvVar, text, True) for text in ("true", "True", "1", "yes")),
        *(("forward_logs", EnvVar, text, False) for text in ("false", "FALSE", "0", "")),
    ],
)
def test_env_var_is_resolved_when_the_resource_is_initialized(
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
def test_bad_value_of_an_env_var_fails_the_initialization_of_the_resource(
    field: str, variable: Callable[[str], object], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(DagsterResourceFunctionError) as caught:
        resolved(define(**{field: variable(VARIABLE)}))
    assert isinstance(caught.value.__cause__, ValidationError)
    assert field in str(caught.value.__cause__)
    assert text in str(caught.value.__cause__)


@pytest.mark.parametrize("field", SECONDS)
def test_duration_can_come_from_an_env_var(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "5")
    assert getattr(resolved(define(**{field: EnvVar.int(VARIABLE)})), field) == 5


def test_cleanup_can_come_from_an_env_var(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "always")
    assert resolved(define(cleanup=EnvVar(VARIABLE))).cleanup == "always"


@pytest.mark.parametrize("cleanup", CLEANUPS)
def test_cleanup_can_be_chosen_at_launch(cleanup: str) -> None:
    config = {"bucket": "my-bucket", "cleanup": cleanup}
    run_config = {"resources": {"cloud_function": {"config": config}}}
    assert resolved(PipesCloudFunctionClient.configure_at_launch(), run_config=run_config).cleanup == cleanup


@pytest.mark.parametrize("retry_on", [[], ["429"], ["4xx", "503", "no_response"]])
def test_accepts_the_outcomes_that_are_retried(retry_on: list[str]) -> None:
    assert define(retry_on=retry_on).retry_on == retry_on


@pytest.mark.parametrize("outcome", ["200", "timeout", "5XX", ""])
def test_refuses_an_outcome_that_cannot_be_retried(outcome: str) -> None:
    with pytest.raises(ValidationError, match="expected an HTTP status such as '429', '4xx', '5xx' or 'no_response'"):
        define(retry_on=[outcome])


class Place(ConfigurableResource):
    """A resource with the fields that say where functions are."""

    project: ProjectId | None = None
    region: Region | None = None


@pytest.mark.parametrize("project", [None, "my-project-1234", "example.com:my-project", "123456789012"])
def test_accepts_a_project(project: str | None) -> None:
    assert Place(project=project).project == project


@pytest.mark.parametrize(
    "project", ["", "short", "My-Project", "my_project", "projects/my-project", "my-project-", "a" * 31]
)
def test_refuses_a_bad_project(project: str) -> None:
    with pytest.raises(ValidationError, match="expected the ID of a project, such as 'my-project-1234', got"):
        Place(project=project)


@pytest.mark.parametrize("region", [None, "europe-west1", "us-central1", "northamerica-northeast2", "me-central2"])
def test_accepts_a_region(region: str | None) -> None:
    assert Place(region=region).region == region


@pytest.mark.parametrize("region", ["", "europe", "europe-west1-b", "EUROPE-WEST1", "locations/europe-west1", "EU"])
def test_refuses_a_bad_region_and_a_zone(region: str) -> None:
    with pytest.raises(ValidationError, match="expected a region, such as 'europe-west1', without a zone, got"):
        Place(region=region)


def test_place_can_come_from_env_vars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPES_TEST_PROJECT", "my-project")
    monkeypatch.setenv("PIPES_TEST_REGION", "europe-west1")
    place = Place(project=EnvVar("PIPES_TEST_PROJECT"), region=EnvVar("PIPES_TEST_REGION"))
    resolved_place = place.process_config_and_initialize()
    assert (resolved_place.project, resolved_place.region) == ("my-project", "europe-west1")


VIEW = "projects/my-project/locations/global/buckets/_Default/views/orders"


PARENTS = ["folders/123456789012", "organizations/123456789012", "billingAccounts/01ABCD-234567-89EFAB"]


@pytest.mark.parametrize("log_view", [None, VIEW, *(VIEW.replace("projects/my-project", parent) for parent in PARENTS)])
def test_accepts_a_log_view(log_view: str | None) -> None:
    assert define(log_view=log_view).log_view == log_view


@pytest.mark.parametrize("log_view", ["orders", VIEW.replace("projects/", ""), VIEW.replace("projects", "accounts")])
def test_refuses_a_log_view_without_its_place(log_view: str) -> None:
    with pytest.raises(ValidationError, match="expected the full name of a log view, projects/P/locations/L/buckets"):
        define(log_view=log_view)
