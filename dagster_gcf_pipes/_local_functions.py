"""The functions that run on this machine in place of deployed ones, as `GCF_PIPES_LOCAL_FUNCTIONS` names them."""

import json
import os
from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import urlsplit

from gcf_pipes._shared.storage import EMULATOR_VARIABLE, uses_emulator

from dagster_gcf_pipes._environment import LOCAL_FUNCTIONS_VARIABLE
from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import check_url, is_loopback

_UNSET: Final = f"To call deployed functions, unset {LOCAL_FUNCTIONS_VARIABLE}."


def find_local_function(name: str) -> str | None:
    """Return the URL of the local function with that name, or None if functions do not run on this machine.

    Args:
        name: A plain name, or a full resource name, whose last part counts.

    Raises:
        PipesCloudFunctionRequestError: The variable is set, but has no such function, is not valid, or there is no
            emulator: then the messages would go through a real bucket, with the credentials of a real project.
    """
    functions = local_functions()
    if not functions:
        return None
    if not uses_emulator():
        raise PipesCloudFunctionRequestError(
            f"{LOCAL_FUNCTIONS_VARIABLE} is set, so functions run on this machine. But {EMULATOR_VARIABLE} is not: the "
            "messages would go through a real bucket, with the credentials of a real project.\n"
            f"Fix: {_UNSET} To call local functions, start Dagster with `dagster-gcf-pipes dev`, which sets both."
        )
    plain = name.rpartition("/")[2]
    if plain not in functions:
        raise PipesCloudFunctionRequestError(
            f"Expected the name of a function that runs on this machine, one of {sorted(functions)}, got {plain!r}.\n"
            f"Fix: Start `dagster-gcf-pipes dev` with `--function {plain}=FOLDER`, or name it in "
            f"`[tool.dagster-gcf-pipes.functions]` of pyproject.toml. {_UNSET}"
        )
    return functions[plain]


def local_functions() -> Mapping[str, str]:
    """Return the URLs of the local functions by their names; empty if the variable is not set.

    Raises:
        PipesCloudFunctionRequestError: The variable is not a JSON object of names and URLs of this machine.
    """
    text = os.environ.get(LOCAL_FUNCTIONS_VARIABLE)
    if not text:
        return {}
    try:
        functions = json.loads(text)
    except (ValueError, RecursionError):
        _refuse(text)
    if not isinstance(functions, dict) or not all(isinstance(url, str) for url in functions.values()):
        _refuse(text)
    for url in functions.values():
        check_url(url)
        if not is_loopback(urlsplit(url).hostname or ""):
            _refuse(text)
    return functions


def _refuse(text: str) -> NoReturn:
    raise PipesCloudFunctionRequestError(
        f"Expected {LOCAL_FUNCTIONS_VARIABLE} to be a JSON object with names of functions and their URLs on this "
        f'machine, such as {{"orders": "http://127.0.0.1:8080"}}, got {text[:200]}.\n'
        f"Fix: Let `dagster-gcf-pipes dev` set it. {_UNSET}"
    )
