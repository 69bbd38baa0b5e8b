"""The arguments in `terraform/` are those of the provider, at both ends of the versions that it allows."""

import re
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.terraform.modules import (
    EXAMPLES,
    FILES,
    MODULES,
    SCHEMAS,
    TERRAFORM,
    find_errors,
    load_schema,
    parse,
    resources,
)

NATIVE_TESTS = sorted(TERRAFORM.rglob("*.tftest.hcl"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TERRAFORM)))
def test_each_file_parses(path: Path) -> None:
    assert parse(path.read_text())


@pytest.mark.parametrize(
    "path", sorted(TERRAFORM.rglob("*.tftest.hcl")), ids=lambda path: str(path.relative_to(TERRAFORM))
)
def test_each_native_test_parses(path: Path) -> None:
    assert parse(path.read_text())["run"]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TERRAFORM)))
def test_the_resources_have_arguments_of_the_provider(path: Path, schema: Path) -> None:
    assert find_errors(path.read_text(), load_schema(schema)) == []


def test_the_schemas_are_of_the_first_and_last_allowed_major() -> None:
    allowed = SpecifierSet(re.findall(r'version = "(.*)"', (MODULES[0] / "versions.tf").read_text())[0])
    versions = [load_schema(path)["version"] for path in SCHEMAS]
    assert all(version in allowed for version in versions)
    assert {version.split(".")[0] for version in versions} == {"7", "8"}


def test_all_allow_the_same_versions() -> None:
    allowed = [parse((folder / "versions.tf").read_text()) for folder in (*MODULES, *EXAMPLES)]
    assert allowed == [allowed[0]] * 4


SERVICE = "google_cloudfunctions2_function.this.service_config"


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("force_destroy ", "destroy ", "google_storage_bucket.source: there is no argument destroy"),
        (" subnetwork = ", " subnet = ", f"{SERVICE}.direct_vpc_network_interface: there is no argument subnet"),
        (
            "        version    = secret_environment_variables.value.version\n",
            "",
            f"{SERVICE}.secret_environment_variables: version is required",
        ),
        ('_bucket" "source"', '_box" "source"', "google_storage_box.source: the schema has no such resource"),
    ],
)
def test_a_wrong_argument_is_found(right: str, wrong: str, error: str) -> None:
    text = (TERRAFORM / "function/main.tf").read_text()
    assert right in text
    assert error in find_errors(text.replace(right, wrong), load_schema(SCHEMAS[0]))


def test_the_check_sees_every_resource() -> None:
    declared = sum(len(re.findall(r"^resource ", path.read_text(), re.MULTILINE)) for path in FILES)
    assert declared == sum(len(list(resources(path.read_text()))) for path in FILES) > 0
