"""The contract, which CI checks without Terraform, catches each mutation but those of validations and the template."""

import shutil
from pathlib import Path

import pytest

from tests.terraform.contract import CONTRACTS, find_violations
from tests.terraform.modules import EXAMPLES, MODULES, TERRAFORM
from tests.terraform.mutations import MUTATIONS, Mutation


def mutate(mutation: Mutation, terraform: Path) -> None:
    """Make the mistake in a copy of `terraform/`."""
    path = terraform / mutation.file
    text = path.read_text()
    if mutation.old:
        assert text.count(mutation.old) == 1, f"{mutation.name}: the text is there {text.count(mutation.old)} times"
        path.write_text(text.replace(mutation.old, mutation.new))
    else:
        path.write_text(text + mutation.new)


@pytest.mark.parametrize("module", [*MODULES, *EXAMPLES], ids=lambda path: path.name)
def test_each_folder_keeps_its_contract(module: Path) -> None:
    assert find_violations(module, CONTRACTS / f"{module.name}.txt") == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_contract_catches(mutation: Mutation, tmp_path: Path) -> None:
    terraform = Path(shutil.copytree(TERRAFORM, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*")))
    mutate(mutation, terraform)
    module = (terraform / mutation.file).parent
    assert bool(find_violations(module, CONTRACTS / f"{module.name}.txt")) != mutation.native


def test_there_are_enough_mutations_and_each_is_another() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 42
