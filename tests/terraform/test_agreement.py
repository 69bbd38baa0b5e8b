"""`terraform/` agrees with the two packages that it deploys."""

import ast
import keyword
import re
from pathlib import Path
from typing import Any

import pytest
from gcf_pipes._shared.protocol import BUCKETS_VARIABLE, DEFAULT_KEY_PREFIX, KEY_PREFIX_VARIABLE

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes._crash_logs import _TERMINATED
from tests.terraform.modules import EXAMPLES, FILES, MODULES, ROOT, TERRAFORM, blocks, local_values, resources

FIELDS = PipesCloudFunctionClient.model_fields
SHARED, FUNCTION = MODULES


def test_the_default_prefix_is_that_of_the_resource() -> None:
    assert blocks("variable", SHARED)["key_prefix"]["default"] == FIELDS["key_prefix"].default == DEFAULT_KEY_PREFIX


def test_the_default_cleanup_is_that_of_the_resource() -> None:
    assert blocks("variable", SHARED)["cleanup"]["default"] == FIELDS["cleanup"].default


def test_the_function_gets_the_variables_that_it_reads() -> None:
    text = (FUNCTION / "main.tf").read_text()
    assert re.search(rf"{BUCKETS_VARIABLE} += var\.shared\.bucket$", text, re.MULTILINE)
    assert re.search(rf"{KEY_PREFIX_VARIABLE} += var\.shared\.key_prefix$", text, re.MULTILINE)


def test_an_alert_knows_a_death_as_dagster_does() -> None:
    assert _TERMINATED.pattern in (FUNCTION / "alerts.tf").read_text()


def test_the_function_takes_what_the_shared_module_outputs() -> None:
    taken = re.findall(r"(\w+) += ?", blocks("variable", FUNCTION)["shared"]["type"])
    assert taken
    assert set(taken) <= {*blocks("output", SHARED), "email", "id", "notification_channels"}


def test_no_keyword_of_python_is_an_asset() -> None:
    text = (SHARED / "variables.tf").read_text()
    assert {f'"{word}"' for word in keyword.kwlist if word.islower()} <= set(re.findall(r'"[a-z]+"', text))


def test_the_example_sets_the_variables_of_the_examples_definitions() -> None:
    read = re.findall(r'EnvVar\("(\w+)"\)', (ROOT / "examples/definitions.py").read_text())
    assert set(blocks("output", EXAMPLES[0])["environment"]["value"]) == set(read)


def test_the_example_deploys_the_archive_that_the_recipe_builds() -> None:
    (built,) = re.findall(r"build_archive\.py cloud_function (\S+)", (ROOT / "justfile").read_text())
    default = blocks("variable", EXAMPLES[0])["source_archive"]["default"]
    assert (EXAMPLES[0] / default).resolve() == ROOT / built


@pytest.mark.parametrize("folder", [*MODULES, *EXAMPLES], ids=lambda path: path.name)
def test_variables_and_outputs_are_described_and_typed(folder: Path) -> None:
    for name, body in {**blocks("variable", folder), **blocks("output", folder)}.items():
        assert body["description"], name
    assert all("type" in body for body in blocks("variable", folder).values())


@pytest.mark.parametrize("folder", MODULES, ids=lambda path: path.name)
def test_every_variable_with_limits_says_what_it_expects(folder: Path) -> None:
    rules = {name: body.get("validation", []) for name, body in blocks("variable", folder).items()}
    assert all(rule["error_message"].startswith("Expected ") for of_one in rules.values() for rule in of_one)
    tested = set(re.findall(r"expect_failures = \[var\.(\w+)\]", (folder / "tests/validation.tftest.hcl").read_text()))
    assert tested == {name for name, of_one in rules.items() if of_one}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TERRAFORM)))
def test_no_role_is_given_on_a_project_to_everybody_or_with_a_key(path: Path) -> None:
    text = path.read_text()
    assert not re.findall(r"google_(?:project|folder|organization)_iam\w*|google_service_account_key", text)
    assert not re.findall(r"allUsers|allAuthenticatedUsers|_iam_policy\b|_iam_binding\b", text)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_every_role_on_the_bucket_of_the_messages_ends_at_the_prefix(module: Path) -> None:
    roles = [
        body
        for resource_type, _, body in resources((module / "iam.tf").read_text())
        if resource_type == "google_storage_bucket_iam_member"
    ]
    assert len(roles) == 2
    assert {condition["expression"] for body in roles for condition in body["condition"]} == {
        "${local.below_prefix}",
        "${local.below_prefix_or_list}",
    }


def test_the_keys_of_for_each_are_of_maps_that_the_caller_writes() -> None:
    """A set of values would have keys that are unknown while something of the same root is not yet made."""
    over = {
        body["for_each"]
        for path in FILES
        if path.parent in MODULES
        for _, _, body in resources(path.read_text())
        if "for_each" in body
    }
    assert {expression for expression in over if "toset" in expression} == {
        "${var.enable_apis ? toset(local.apis) : []}"
    }


def test_the_output_has_fields_of_the_resource() -> None:
    assert set(local_values(SHARED)["resource"]) <= set(FIELDS)


def test_the_snippet_makes_definitions() -> None:
    """The native tests hold the output against this text."""
    snippet = (SHARED / "tests/snippet.txt").read_text()
    namespace: dict[str, Any] = {}
    exec(snippet, namespace)
    given = {field: ast.literal_eval(value) for field, value in re.findall(r"^    (\w+)=(.+),$", snippet, re.MULTILINE)}
    assert given == {field: getattr(namespace["cloud_function"], field) for field in given}
    assert len(namespace["defs"].resolve_asset_graph().get_all_asset_keys()) == 2
