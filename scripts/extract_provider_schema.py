"""Extracts the arguments of the resources that `terraform/` uses from bindings of the Google provider on PyPI.

pip download --no-deps --dest build cdktn-provider-google==21.1.0
python scripts/extract_provider_schema.py build/cdktn_provider_google-21.1.0-py3-none-any.whl

It writes `tests/terraform/schemas/google-VERSION.json` with the provider's version. The bindings are generated from the
provider's own schema. The script reads them without an import, because they need Node.js to run. They separate words at
a digit (`detect_md5_hash` for `detect_md5hash`). Source: https://github.com/cdktn-io/cdktn-provider-google.
"""

import ast
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent
PACKAGE = "cdktn_provider_google"
META_ARGUMENTS = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"}
"""Terraform's own arguments of each resource."""

Arguments = dict[str, Any]


def extract(wheel: Path) -> tuple[str, Arguments]:
    """Return the provider's version, and the arguments of each resource that `terraform/` uses."""
    with ZipFile(wheel) as files:
        metadata = next(name for name in files.namelist() if name.endswith("dist-info/METADATA"))
        version = re.findall(r"hashicorp/google provider version (\S+)", files.read(metadata).decode())[0]
        resources = {
            name: _arguments_of_resource(files.read(f"{PACKAGE}/{name.removeprefix('google_')}/__init__.py").decode())
            for name in used_resources()
        }
    return version, resources


def used_resources() -> list[str]:
    """Return the types of the resources in `terraform/`, sorted."""
    paths = [path for path in (ROOT / "terraform").rglob("*.tf") if ".terraform" not in path.parts]
    text = "".join(path.read_text() for path in paths)
    return sorted(set(re.findall(r'^resource "(\w+)"', text, re.MULTILINE)))


def _arguments_of_resource(source: str) -> Arguments:
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    resource = next(node for node in classes.values() if "TerraformResource" in "".join(map(ast.unparse, node.bases)))
    arguments = _arguments_of_class(resource, classes)
    return {name: argument for name, argument in arguments.items() if name not in META_ARGUMENTS}


def _arguments_of_class(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Arguments:
    """Return the keyword arguments of a class. Those without a default are required, those with a class are blocks."""
    init = next(item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    arguments: Arguments = {}
    for parameter, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        argument: Arguments = {"required": default is None}
        block = _class_in(parameter.annotation, classes)
        if block and parameter.arg not in META_ARGUMENTS:
            argument["block"] = _arguments_of_class(block, classes)
        arguments[parameter.arg] = argument
    return arguments


def _class_in(annotation: ast.expr | None, classes: dict[str, ast.ClassDef]) -> ast.ClassDef | None:
    if annotation is None:
        return None
    names = [node.value for node in ast.walk(annotation) if isinstance(node, ast.Constant)]
    return next((classes[name] for name in names if name in classes), None)


def main(wheel: Path) -> None:
    """Write the schema of the provider's version in a wheel."""
    version, resources = extract(wheel)
    origin = {"package": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    target = ROOT / "tests/terraform/schemas" / f"google-{version}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"origin": origin, "version": version, "resources": resources}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
