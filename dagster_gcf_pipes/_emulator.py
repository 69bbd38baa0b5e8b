"""Mistakes with emulators of Cloud Storage: set for a function in the cloud, or not set for one on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from gcf_pipes._shared.storage import EMULATOR_VARIABLE, uses_emulator

from dagster_gcf_pipes._errors import (
    PipesCloudFunctionBucketError,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes._fixes import CREDENTIALS_FIX
from dagster_gcf_pipes._functions import is_loopback, is_platform_url
from dagster_gcf_pipes._functions_api import Target

_FIX: Final = "\nFix: "


def check_emulator(emulator: str, target: Target) -> None:
    """Refuse to call a function in the cloud while Dagster reads messages from an emulator on this machine.

    Args:
        emulator: The URL of the emulator that Dagster uses, or an empty text.
        target: The function.

    Raises:
        PipesCloudFunctionRequestError: The function cannot reach the emulator.
    """
    in_cloud = target.info is not None or is_platform_url(target.url)
    if in_cloud and is_loopback(urlsplit(emulator).hostname or ""):
        raise PipesCloudFunctionRequestError(
            f"Expected Cloud Storage for a function in the cloud, got the emulator {emulator} on this machine, which "
            f"the function cannot reach.{_FIX}Unset {EMULATOR_VARIABLE} where Dagster runs, and set `bucket` of the "
            "resource to a real bucket. Or run the function on this machine: `dagster-gcf-pipes dev --function "
            "NAME=FOLDER`."
        )


@contextmanager
def explain_missing_emulator(url: str) -> Iterator[None]:
    """Say in errors about Cloud Storage that no emulator is set, if the function is on this machine.

    A function on this machine can use Cloud Storage itself, so this is no error as such.

    Args:
        url: The function's URL.
    """
    try:
        yield
    except (PipesCloudFunctionIdentityError, PipesCloudFunctionBucketError) as error:
        text = str(error.description)
        if is_loopback(urlsplit(url).hostname or "") and not uses_emulator() and EMULATOR_VARIABLE not in text:
            error.description = _explained(text)
            error.args = (error.description,)
        raise


def _explained(text: str) -> str:
    problem, _, fix = text.partition(_FIX)
    log_in = "Log in with `gcloud auth application-default login`."  # no ID token is needed on this machine
    fix = log_in if fix == CREDENTIALS_FIX else fix
    return (
        f"The function is on this machine, but {EMULATOR_VARIABLE} is not set, so Dagster uses Cloud Storage itself. "
        f"{problem}{_FIX}Start Dagster with `dagster-gcf-pipes dev`, which runs an emulator, or set "
        f"{EMULATOR_VARIABLE} to the URL of the function's emulator. To use Cloud Storage itself: {fix}"
    )
