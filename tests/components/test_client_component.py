"""`PipesCloudFunctionClientComponent`: the resource from YAML."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing.utils import create_defs_folder_sandbox
from pydantic import ValidationError

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionClientComponent

BUCKET = {"bucket": "my-bucket"}


def resource(**attributes: Any) -> PipesCloudFunctionClient:
    """Return the resource of the attributes in a YAML file."""
    component = PipesCloudFunctionClientComponent.from_attributes_dict(attributes=attributes)
    resources = component.build_defs(dg.ComponentTree.for_test().load_context).resources or {}
    (built,) = resources.values()
    assert isinstance(built, PipesCloudFunctionClient)
    return built


def test_it_has_every_field_of_the_resource_with_its_description_and_default() -> None:
    model = PipesCloudFunctionClientComponent.model()
    schema = model.model_json_schema()["properties"]
    for name, field in PipesCloudFunctionClient.model_fields.items():
        assert schema[name]["description"] == field.description
        assert field.is_required() or schema[name]["default"] == field.default
    assert {*schema} == {"resource_key", *PipesCloudFunctionClient.model_fields}


def test_the_resource_has_the_values() -> None:
    values = {"function_timeout": 60, "forward_logs": True, "retry_on": ["429"], "poll_interval": 0.5}
    built = resource(**BUCKET, **values)
    assert {name: getattr(built, name) for name in values} == values


def test_the_key_is_cloud_function_unless_it_is_given() -> None:
    context = dg.ComponentTree.for_test().load_context
    for key in ("cloud_function", "other"):
        component = PipesCloudFunctionClientComponent(resource_key=key, bucket="my-bucket")
        assert component.build_defs(context).resources == {key: component.resource}
    assert PipesCloudFunctionClientComponent(bucket="my-bucket").resource_key == "cloud_function"


def test_a_variable_is_read_when_a_run_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPES_BUCKET", raising=False)
    built = resource(bucket="{{ env.PIPES_BUCKET }}", project="{{env.PROJECT}}")
    assert isinstance(built.bucket, dg.EnvVar)
    monkeypatch.setenv("PIPES_BUCKET", "my-bucket")
    monkeypatch.setenv("PROJECT", "my-project")
    seen = []

    @dg.asset
    def orders(cloud_function: PipesCloudFunctionClient) -> None:
        seen.append((cloud_function.bucket, cloud_function.project))

    dg.materialize([orders], resources={"cloud_function": built})
    assert seen == [("my-bucket", "my-project")]


def test_other_templates_are_resolved_when_the_definitions_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE", "dev")
    monkeypatch.setenv("SECONDS", "60")
    built = resource(bucket="lake-{{ env.STAGE }}", key_prefix="1.10", function_timeout="{{ env.SECONDS }}")
    assert (built.bucket, built.key_prefix, built.function_timeout) == ("lake-dev", "1.10", 60)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"bucket": "gs://a"}, "expected the name of a bucket, without `gs://` and without a path, got 'gs://a'"),
        ({**BUCKET, "function_timeout": 0}, "greater than 0"),
        ({**BUCKET, "functoin_timeout": 1}, "There is no key 'functoin_timeout'.\nFix: Write 'function_timeout'."),
        ({"project": "my-project"}, "bucket"),
    ],
)
def test_bad_yaml_says_what_is_wrong_and_where(attributes: Mapping[str, Any], text: str) -> None:
    with create_defs_folder_sandbox() as sandbox:
        contents = {"type": "dagster_gcf_pipes.PipesCloudFunctionClientComponent", "attributes": dict(attributes)}
        sandbox.scaffold_component(PipesCloudFunctionClientComponent, "client", defs_yaml_contents=contents)
        with pytest.raises(Exception) as caught, sandbox.build_all_defs():  # noqa: PT011 - the texts are what counts
            pass
    errors = [str(caught.value), str(caught.value.__cause__)]
    assert any(text in error and "defs.yaml:" in error for error in errors), errors


def test_bad_values_in_python_are_refused_as_by_the_resource() -> None:
    with pytest.raises(ValidationError, match="did you mean 'bucket'"):
        PipesCloudFunctionClientComponent(buket="my-bucket")


@pytest.mark.skipif("produces" not in dg.ComponentTypeSpec.__annotations__, reason="Dagster asks since 1.13.18")
def test_it_says_what_it_produces() -> None:
    assert PipesCloudFunctionClientComponent.get_spec().produces == ["resource"]
