"""The quickstart agrees with what `dagster-gcf-pipes init` writes. The tests of its code blocks run it."""

import re
from pathlib import Path

import pytest

from dagster_gcf_pipes._scaffold import scaffold

QUICKSTART = (Path(__file__).parent.parent / "docs" / "quickstart.md").read_text()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files that `init` writes, without the copy of `gcf_pipes` for a package that is on no index."""
    monkeypatch.chdir(tmp_path)
    scaffold("orders")
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in files.items() if "/gcf_pipes/" not in name}


def test_the_code_is_what_init_writes(written: dict[str, str]) -> None:
    shown = re.findall(r"^```python\n(.*?)^```", QUICKSTART, re.DOTALL | re.MULTILINE)
    assert shown == [written["functions/orders/main.py"], written["definitions.py"]]


def test_the_table_names_every_file_that_init_writes(written: dict[str, str]) -> None:
    named = re.findall(r"^\| `([\w./]+)` \|", QUICKSTART, re.MULTILINE)
    assert sorted(named) == sorted(written)
