"""The README agrees with the code."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def code_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_code_is_what_init_writes() -> None:
    """The tests of `dagster-gcf-pipes init` run it."""
    templates = files("dagster_gcf_pipes").joinpath("_templates")
    written = [templates.joinpath(name).read_text() for name in ("main.py", "definitions.py")]
    assert code_blocks() == written


@pytest.mark.parametrize("side", [0, 1])
def test_each_side_is_ten_lines_of_code(side: int) -> None:
    assert len([line for line in code_blocks()[side].splitlines() if line]) <= 10
