"""Imports functions from their folders, as functions-framework does."""

import hashlib
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from dagster_gcf_pipes.testing._functions import EntryPoint


def load_function(source: str | os.PathLike[str], entry_point: str = "main") -> EntryPoint:
    """Import a function from its folder, and return its entry point.

    For example::

        main = load_function("functions/orders")

    Each `main.py` becomes a module of its own, so tests can load several functions. It can import the modules beside
    it, because their folder is appended to `sys.path`, as functions-framework does. So an installed module with the
    same name comes first, and if two functions have a `tasks.py`, both get the one imported first.
    Source: functions_framework/_function_registry.py, `load_function_module`.

    Args:
        source: The folder with the function's `main.py`, or its file.
        entry_point: The name of the function in the file. Default "main".

    Raises:
        TypeError: `source` is not a path, or what has that name cannot be called.
        FileNotFoundError: There is no such file.
        AttributeError: The file has no such function.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"Expected the path of a function's folder, or of its file, got {source!r:.100}.")
    file = Path(source).resolve()
    file = file / "main.py" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"Expected the folder of a function with its `main.py`, or its file, got {source!s}.")
    name = f"gcf_pipes_function_{hashlib.sha256(os.fsencode(file)).hexdigest()[:16]}"
    if name not in sys.modules:
        _import(name, file)
    module = sys.modules[name]
    if not hasattr(module, entry_point):
        raise AttributeError(f"Expected {file} to have a function {entry_point!r}.\nFix: Pass its name.")
    function: EntryPoint = getattr(module, entry_point)
    if not callable(function):
        raise TypeError(f"Expected {entry_point!r} in {file} to be a function, got {function!r:.100}.")
    return function


def _import(name: str, file: Path) -> None:
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"Expected a Python file, got {file}.")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
