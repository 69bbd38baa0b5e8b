"""`terraform/` agrees with the two packages that it deploys."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from gcf_pipes._shared.protocol import BUCKETS_VARIABLE, DEFAULT_KEY_PREFIX, KEY_PREFIX_VARIABLE

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.terraform.modules import FILES, MODULE, ROOT, blocks, parse, resources

FIELDS = PipesCloudFunctionClient.model_fields


def test_the_default_prefix_is_that_of_the_resource() -> None:
    assert blocks("variable")["key_prefix"]["default"] == FIELDS["key_prefix"].default == DEFAULT_KEY_PREFIX


def test_the_default_cleanup_is_that_of_the_resource() -> None:
    assert blocks("variable")["cleanup"]["default"] == FIELDS["cleanup"].default


def test_the_function_gets_the_variables_that_it_reads() -> None:
    text = (MODULE / "main.tf").read_text()
    assert re.search(rf"{BUCKETS_VARIABLE} += google_storage_bucket\.messages\.name$", text, re.MULTILINE)
    assert re.search(rf"{KEY_PREFIX_VARIABLE} += var\.key_prefix$", text, re.MULTILINE)


def test_the_example_sets_the_variables_of_the_examples_definitions() -> None:
    read = re.findall(r'EnvVar\("(\w+)"\)', (ROOT / "examples/definitions.py").read_text())
    assert set(blocks("output", MODULE / "example")["environment"]["value"]) == set(read)


def test_the_example_deploys_the_archive_that_the_recipe_builds() -> None:
    (built,) = re.findall(r"build_archive\.py cloud_function (\S+)", (ROOT / "justfile").read_text())
    default = blocks("variable", MODULE / "example")["source_archive"]["default"]
    assert (MODULE / "example" / default).resolve() == ROOT / built


def test_variables_and_outputs_are_described_and_typed() -> None:
    for folder in (MODULE, MODULE / "example"):
        for name, body in {**blocks("variable", folder), **blocks("output", folder)}.items():
            assert body["description"], name
        assert all("type" in body for body in blocks("variable", folder).values())


def test_every_variable_with_limits_says_what_it_expects() -> None:
    messages = [rule["error_message"] for body in blocks("variable").values() for rule in body.get("validation", [])]
    assert messages
    assert all(message.startswith("Expected ") for message in messages)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(MODULE)))
def test_no_role_is_given_on_a_project_to_everybody_or_with_a_key(path: Path) -> None:
    text = path.read_text()
    assert not re.findall(r"google_(?:project|folder|organization)_iam\w*|google_service_account_key", text)
    assert not re.findall(r"allUsers|allAuthenticatedUsers|_iam_policy\b|_iam_binding\b", text)


def test_every_role_on_the_bucket_of_the_messages_ends_at_the_prefix() -> None:
    roles = [
        body
        for resource_type, _, body in resources((MODULE / "iam.tf").read_text())
        if resource_type == "google_storage_bucket_iam_member"
    ]
    assert len(roles) == 4
    assert {body["bucket"] for body in roles} == {"${google_storage_bucket.messages.name}"}
    conditions = {condition["expression"] for body in roles for condition in body["condition"]}
    assert conditions == {"${local.below_prefix}", "${local.below_prefix_or_list}"}


def test_the_output_has_fields_of_the_resource() -> None:
    assert set(parse((MODULE / "outputs.tf").read_text())["locals"][0]["resource"]) <= set(FIELDS)


def test_the_snippet_makes_definitions() -> None:
    """The native tests hold the output against this text."""
    snippet = (MODULE / "tests/snippet.txt").read_text()
    namespace: dict[str, Any] = {}
    exec(snippet, namespace)
    given = {field: ast.literal_eval(value) for field, value in re.findall(r"^    (\w+)=(.+),$", snippet, re.MULTILINE)}
    assert given == {field: getattr(namespace["cloud_function"], field) for field in given}
    assert namespace["defs"].resolve_implicit_global_asset_job_def()
