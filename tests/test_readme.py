"""The README agrees with the code."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from dagster_gcf_pipes import PipesCloudFunctionClient

README = Path(__file__).parent.parent / "README.md"


def code_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_code_is_what_init_writes() -> None:
    """The tests of `dagster-gcf-pipes init` run it."""
    templates = files("dagster_gcf_pipes").joinpath("_templates")
    written = [templates.joinpath(name).read_text() for name in ("main.py", "definitions.py")]
    assert code_blocks() == written


@pytest.mark.parametrize("side", [0, 1])
def test_each_side_is_ten_lines_of_code(side: int) -> None:
    assert len([line for line in code_blocks()[side].splitlines() if line]) <= 10


def test_the_table_of_the_resource_names_every_field() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", README.read_text(), re.MULTILINE)
    assert documented == list(PipesCloudFunctionClient.model_fields)
