"""The contract of a Terraform module or an example: what it makes, written a second time, with the reasons.

`contract/FOLDER.txt` has every block. An address starts a line. Its arguments follow, indented, as `path = expression`.
A statement that is in only one of the two places is a violation. So this finds a second, wider binding as surely as a
wrong binding, without Terraform. It ignores descriptions and validations.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
from hcl2.utils import SerializationOptions

CONTRACTS = Path(__file__).parent / "contract"
NOT_PART_OF_IT = {"description", "display_name", "validation"}
WITH_QUOTES = SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=False)
"""They tell the text "var.name" from the variable."""


def find_violations(module: Path, contract: Path) -> list[str]:
    """Return what is in the module or in its contract, and not in both."""
    actual, agreed = dict(_statements(module)), _read(contract)
    return [
        f"{key}: agreed {agreed.get(key, 'nothing')!r}, got {actual.get(key, 'nothing')!r}"
        for key in sorted(actual.keys() | agreed.keys())
        if actual.get(key) != agreed.get(key)
    ]


def _read(contract: Path) -> dict[str, str]:
    statements: dict[str, str] = {}
    address = ""
    for line in contract.read_text().splitlines():
        if line.startswith(" "):
            path, expression = line.strip().split(" = ", maxsplit=1)
            statements[f"{address} {path}"] = expression
        elif line and not line.startswith("#"):
            address = line
    return statements


def _statements(module: Path) -> Iterator[tuple[str, str]]:
    for address, body in _bodies(module):
        for path, expression in _flatten(body):
            yield f"{address} {path}", expression


def _bodies(module: Path) -> Iterator[tuple[str, Any]]:
    for file in sorted(module.glob("*.tf")):
        for block_type, of_this_type in hcl2.loads(file.read_text(), serialization_options=WITH_QUOTES).items():
            for block in of_this_type:
                yield from _body(block_type, block)


def _body(block_type: str, block: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if block_type not in {"resource", "data"}:
        yield block_type, block
        return
    prefix = "data." if block_type == "data" else ""
    for resource_type, named in block.items():
        for name, body in named.items():
            yield f"{prefix}{resource_type}.{name}".replace('"', ""), body


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for label, inner in value.items():
            name = label.strip('"')
            if name not in NOT_PART_OF_IT:
                yield from _flatten(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _flatten(item, path if len(value) == 1 else f"{path}[{number}]")
    else:
        yield path, _expression(value)


def _expression(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_expression, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    text = str(value)
    return text.removeprefix("${").removesuffix("}") if text.startswith("${") else text
