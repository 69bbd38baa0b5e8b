"""Reads the Terraform files, and checks their resources by the provider's schema."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
from hcl2.utils import SerializationOptions

ROOT = Path(__file__).parent.parent.parent
TERRAFORM = ROOT / "terraform"
MODULES = (TERRAFORM / "shared", TERRAFORM / "function")
EXAMPLES = (TERRAFORM / "examples/one", TERRAFORM / "examples/two")
FILES = sorted(path for path in TERRAFORM.rglob("*.tf") if ".terraform" not in path.parts)
SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("*.json"))

META_ARGUMENTS = {"count", "depends_on", "for_each", "lifecycle", "provider"}

Body = Mapping[str, Any]


@cache
def parse(text: str) -> dict[str, Any]:
    """Parse a Terraform file."""
    options = SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
    return dict(hcl2.loads(text, serialization_options=options))


def blocks(block_type: str, folder: Path) -> dict[str, Any]:
    """Return the blocks with one label, such as variables, of one folder's files by their label."""
    parsed = [parse(path.read_text()) for path in sorted(folder.glob("*.tf"))]
    return {label: body for file in parsed for block in file.get(block_type, []) for label, body in block.items()}


def local_values(folder: Path) -> dict[str, Any]:
    """Return the local values of one folder's files."""
    parsed = [parse(path.read_text()) for path in sorted(folder.glob("*.tf"))]
    return {name: value for file in parsed for block in file.get("locals", []) for name, value in block.items()}


def resources(text: str, block_type: str = "resource") -> Iterator[tuple[str, str, Body]]:
    """Yield the type, the name and the body of each resource in a file."""
    for block in parse(text).get(block_type, []):
        for resource_type, named in block.items():
            for name, body in named.items():
                yield resource_type, name, body


def find_errors(text: str, schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the arguments of the resources in a file."""
    errors: list[str] = []
    for resource_type, name, body in resources(text):
        if resource_type not in schema["resources"]:
            errors.append(f"{resource_type}.{name}: the schema has no such resource")
            continue
        arguments = {key: value for key, value in body.items() if key not in META_ARGUMENTS}
        errors += _find_errors_in_block(arguments, schema["resources"][resource_type], f"{resource_type}.{name}")
    return errors


def _find_errors_in_block(body: Body, expected: Mapping[str, Any], where: str) -> Iterator[str]:
    given = {**{key: value for key, value in body.items() if key != "dynamic"}, **_dynamic_blocks(body)}
    yield from (f"{where}: {name} is required" for name in expected if expected[name]["required"] and name not in given)
    for name, value in given.items():
        if name not in expected:
            yield f"{where}: there is no argument {name}"
        elif "block" in expected[name]:
            for block in value:
                yield from _find_errors_in_block(block, expected[name]["block"], f"{where}.{name}")


def _dynamic_blocks(body: Body) -> dict[str, list[Body]]:
    """Return what `dynamic "name" { content {...} }` stands for."""
    return {name: block["content"] for dynamic in body.get("dynamic", []) for name, block in dynamic.items()}


def load_schema(path: Path) -> dict[str, Any]:
    """Return the arguments of resources that `scripts/extract_provider_schema.py` extracted."""
    return dict(json.loads(path.read_text()))
