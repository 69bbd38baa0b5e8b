"""The pages about Terraform say what `terraform/` does."""

import re
from pathlib import Path

import pytest

from tests.terraform.modules import EXAMPLES, MODULES, ROOT, Body, blocks, parse
from tests.terraform.mutations import MUTATIONS

DOCS = ROOT / "docs/guides/deploy-terraform.md"
PAGES = (DOCS, ROOT / "docs/guides/environments.md")
TEXT = DOCS.read_text()


def test_the_table_has_the_roles_of_the_modules() -> None:
    table = TEXT[TEXT.index("| account | role |") : TEXT.index("The permission to list")]
    rows = [line.split("|")[2] for line in table.splitlines()[2:] if line]
    given = {role for module in MODULES for role in re.findall(r'"roles/([\w.]+)"', (module / "iam.tf").read_text())}
    assert {role for row in rows for role in re.findall(r"`(\w+\.\w+)`", row)} == given


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_modules_in_the_docs_have_variables_of_the_modules(page: Path, module: Path) -> None:
    used = [body for body in modules_in(page.read_text()) if body["source"].split("?")[0].endswith(module.name)]
    variables = blocks("variable", module)
    assert used
    for body in used:
        given = set(body) - {"source", "for_each"}
        assert given <= set(variables)
        assert {name for name, variable in variables.items() if "default" not in variable} <= given


def modules_in(text: str) -> list[Body]:
    texts = re.findall(r"^```hcl\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [body for hcl in texts for block in parse(hcl).get("module", []) for body in block.values()]


def test_the_variables_of_the_commands_are_those_of_the_example() -> None:
    (written,) = re.findall(r"terraform\.tfvars <<END\n(.*?)^END", TEXT, re.DOTALL | re.MULTILINE)
    given = re.findall(r"^(\w+) =", written, re.MULTILINE)
    assert given
    assert set(given) <= set(blocks("variable", EXAMPLES[0]))


def test_the_numbers_of_the_mutations_are_right() -> None:
    native = sum(mutation.native for mutation in MUTATIONS)
    assert f"makes {len(MUTATIONS)} mistakes" in TEXT
    assert f"catches {len(MUTATIONS) - native} of them. The other {native} are in validations or in the" in TEXT


@pytest.mark.parametrize("recipe", sorted(set(re.findall(r"`?just ([\w-]+)", TEXT)) - {"stand"}))
def test_the_recipes_are_there(recipe: str) -> None:
    assert re.search(rf"^{recipe}\b.*:", (ROOT / "justfile").read_text(), re.MULTILINE)
