"""Translates the errors that leave a run into ours, and removes tokens from them."""

from collections.abc import Iterator
from contextlib import contextmanager

from gcf_pipes import PipesStorageError

from dagster_gcf_pipes._detachment import detach_requests
from dagster_gcf_pipes._errors import (
    PipesCloudFunctionBucketError,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
)
from dagster_gcf_pipes._fixes import CREDENTIALS_FIX


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Translate errors of the block, or of the decorated function.

    Raises:
        PipesCloudFunctionError: Cloud Storage or google-auth failed.
    """
    try:
        yield
    except Exception as error:
        detach_requests(error)
        if translated := _translate(error):
            raise translated from error
        raise


def _translate(error: Exception) -> PipesCloudFunctionError | None:
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - keep Google imports lazy

    if isinstance(error, PipesStorageError):
        return PipesCloudFunctionBucketError(str(error), allow_retries=error.transient)
    if isinstance(error, GoogleAuthError):
        text = " ".join(map(str, error.args)).rstrip(".")
        return PipesCloudFunctionIdentityError(
            f"Expected valid Google credentials, got: {text}.\nFix: {CREDENTIALS_FIX}", allow_retries=False
        )
    return None
