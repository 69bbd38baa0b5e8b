"""`load_function` imports a function from its folder, as functions-framework does."""

import sys
from pathlib import Path
from typing import Any

import pytest

from dagster_gcf_pipes.testing import invoke, load_function

MAIN = """
from gcf_pipes import pipes_function
import {module}

@pipes_function
def main(request, pipes):
    return {module}.__file__ or ""

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a function, whose imports do not outlive the test."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    (tmp_path / "main.py").write_text(MAIN.format(module="beside_main"))
    (tmp_path / "beside_main.py").touch()
    return tmp_path


@pytest.mark.parametrize("source", [".", "main.py"])
def test_a_function_imports_the_modules_beside_it(folder: Path, source: str) -> None:
    main = load_function(folder / source)
    assert invoke(main).response.text == str(folder / "beside_main.py")
    assert load_function(str(folder)) is main


def test_an_installed_module_comes_first(folder: Path) -> None:
    """As on functions-framework, which appends to `sys.path` too."""
    (folder / "main.py").write_text(MAIN.format(module="this_module_is_installed"))
    installed = folder / "installed"
    installed.mkdir()
    for each in (folder, installed):
        (each / "this_module_is_installed.py").touch()
    sys.path.append(str(installed))
    assert invoke(load_function(folder)).response.text == str(installed / "this_module_is_installed.py")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"entry_point": "number"}, TypeError, r"Expected 'number' in .*main.py to be a function, got 3\."),
        ({"entry_point": "mian"}, AttributeError, r"Expected .*main.py to have a function 'mian'\.\nFix: "),
        ({"source": None}, TypeError, r"Expected the path of a function's folder, or of its file, got None\."),
        ({"source": 3}, TypeError, r"got 3\."),
        ({"source": "nowhere"}, FileNotFoundError, r"got nowhere\."),
    ],
)
def test_what_cannot_be_loaded_is_refused(folder: Path, arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        load_function(**{"source": folder, **arguments})
