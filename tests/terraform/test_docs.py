"""`docs/guides/deploy-terraform.md` says what `terraform/` does."""

import re

import pytest

from tests.terraform.modules import MODULE, ROOT, blocks, parse

DOCS = ROOT / "docs/guides/deploy-terraform.md"
TEXT = DOCS.read_text()


def test_the_table_has_the_roles_of_the_module() -> None:
    table = TEXT[TEXT.index("| account | role |") : TEXT.index("The permission to list")]
    rows = [line.split("|")[2] for line in table.splitlines()[2:] if line]
    given = re.findall(r'"roles/([\w.]+)"', (MODULE / "iam.tf").read_text())
    assert {role for row in rows for role in re.findall(r"`(\w+\.\w+)`", row)} == set(given)


def test_the_module_in_the_docs_has_variables_of_the_module() -> None:
    (text,) = re.findall(r"^```hcl\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    given = set(parse(text)["module"][0]["orders"]) - {"source"}
    variables = blocks("variable")
    assert given <= set(variables)
    assert {name for name, body in variables.items() if "default" not in body} <= given


def test_the_variables_of_the_commands_are_those_of_the_example() -> None:
    given = re.findall(r"-var \"?(\w+)=", TEXT)
    assert given
    assert set(given) <= set(blocks("variable", MODULE / "example"))


@pytest.mark.parametrize("recipe", sorted(set(re.findall(r"`?just (\w+)", TEXT)) - {"stand"}))
def test_the_recipes_are_there(recipe: str) -> None:
    assert re.search(rf"^{recipe}\b.*:", (ROOT / "justfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((\.\./[^)#]+)\)", TEXT))))
def test_the_links_lead_to_files(link: str) -> None:
    assert (DOCS.parent / link).exists()
